"""Perturbations as others store them: their files, layouts and units.

K perturbations of H x W pixels; epsilon is the L-infinity radius on the [0, 1] scale. Units:

- `epsilon`: multiples of epsilon, in [-1, 1], as everywhere here; so does the official code
  (github.com/kaiwenzha/contrastive-poisoning, model.py: img + delta_weight * delta);
- `pixel`: the [0, 1] scale, in [-epsilon, epsilon] (github.com/HanxunH/Unlearnable-Examples,
  perturbation.py; github.com/EhanW/AUE-AAP, aue.py and aap.py; github.com/renjie3/TUE);
- `level`: gray levels of 255, in [-255 epsilon, 255 epsilon].
"""

import warnings
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from cptools.artifacts.containers import container, one_line, one_line_errors
from cptools.artifacts.errors import ArtifactError
from cptools.artifacts.frame import encode_header, layout, payload, read_header
from cptools.artifacts.signatures import looks_like
from cptools.artifacts.strict_json import load_json

Array = NDArray[Any]

MAX_PICKLE = 4 << 20  # bytes beside the tensors, or steps of the reader, 60 bytes of memory each

_NUMPY = b"\x93NUMPY"
_PICKLES = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))  # PyTorch before 1.6
_MAX_HEADER = 10_000  # bytes of the header of a .npy file, as in numpy; of an array they are 100
_ROUNDING = 1e-3  # relative excess that counts as rounding
_SMALL = 0.2  # a poison in units of epsilon uses more of its ball than this
_CHUNK = 1 << 22  # elements handled at a time


def kind_of(path: Path) -> str:
    """What a foreign file is, by its content: `numpy`, `torch` or `images`.

    Raises:
        ArtifactError: It is none of these, is damaged, or would take more memory than it has bytes.
    """
    with one_line_errors(path):
        kind = container(path)
        if kind == "zip" and _is_torch(path):
            return "torch"
        if kind is not None:
            return "images"
        with path.open("rb") as file:
            head = file.read(512)
    if head.startswith(_NUMPY):
        return "numpy"
    is_artifact = head[8:9] == b"{"  # its length comes first, and may look like a pickle
    if head.startswith(_PICKLES) and not is_artifact:
        return "torch"
    what = "a safetensors file" if is_artifact else looks_like(head)
    raise ArtifactError(
        f"{path} is {what}; give a .pth, .pt or .npy file, or a folder or archive of images"
    )


def read_npy(path: Path) -> Array:
    """The array of a .npy file, mapped: what it claims to hold has to be there.

    Raises:
        ArtifactError: The file is damaged, or holds Python objects.
    """
    try:
        _check_header(path)
        with warnings.catch_warnings(), np.errstate(over="raise"):
            warnings.simplefilter("ignore")  # of old or odd headers
            return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except Exception as error:  # noqa: BLE001 - a damaged header raises nearly anything
        raise ArtifactError(
            f"{path} is not a valid array of numbers ({one_line(error)}); save it again"
        ) from None


def is_safetensors(path: Path) -> bool:
    """Whether a file is safetensors of others, by its header: not an artifact of cptools."""
    try:
        with path.open("rb") as stream:
            table = load_json(read_header(stream))
    except ArtifactError:
        return False
    metadata = table.get("__metadata__") if isinstance(table, dict) else None
    return isinstance(table, dict) and "cptools" not in (metadata or {})


def read_safetensors(path: Path) -> dict[str, Array]:
    """The tensors of a plain safetensors file by name.

    Raises:
        ArtifactError: The file is damaged, or holds a dtype that NumPy lacks.
    """
    try:
        return load_file(path)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"{path} cannot be read ({one_line(error)}); get it again, or save it as float32"
        ) from None


def is_number(array: Array) -> bool:
    """Whether the elements are signed integers or floats, or uint8, as images are."""
    return array.dtype.kind in "if" or array.dtype == np.uint8


def channels_first(array: Array) -> Array:
    """[K, H, W, 3] as [K, 3, H, W], a view; others as they are."""
    is_last = array.ndim == 4 and array.shape[1] != 3 and array.shape[3] == 3
    return array.transpose(0, 3, 1, 2) if is_last else array


def largest(values: Array) -> float:
    """The largest magnitude.

    Raises:
        ArtifactError: A value is not finite.
    """
    most = max(float(values.max()), -float(values.min()))
    if not np.isfinite(most):
        raise ArtifactError("it contains NaN or infinity; generate it again")
    return most


def guess_unit(values: Array, epsilon: Fraction) -> str:
    """The unit that the largest magnitude allows, where it allows only one.

    Above 1 is `level`; above 0.2 is `epsilon`; up to epsilon is `pixel`.

    Raises:
        ArtifactError: More than one or none fits, or a value is not finite.
    """
    most = largest(values)
    one = 1 + _ROUNDING
    fits = {
        "epsilon": _SMALL < most <= one and values.dtype.kind == "f",
        "pixel": most <= float(epsilon) * one and values.dtype.kind == "f",
        "level": most > one,
    }
    units = [unit for unit, is_possible in fits.items() if is_possible]
    if len(units) != 1:
        raise ArtifactError(
            f"the unit of values up to {most:.6g} is ambiguous; give --unit epsilon, --unit pixel"
            " (0 to 1) or --unit level (of 255)"
        )
    return units[0]


def radius(epsilon: Fraction, unit: str) -> float:
    """Epsilon in a unit."""
    return float({"epsilon": Fraction(1), "pixel": epsilon, "level": 255 * epsilon}[unit])


def to_epsilon(values: Array, unit: str, epsilon: Fraction) -> NDArray[np.float32]:
    """Bring a perturbation to units of epsilon.

    Args:
        values: [K, 3, H, W], integers or floats.
        unit: `epsilon`, `pixel` or `level`.
        epsilon: Above 0.

    Returns:
        float32 [K, 3, H, W] in [-1, 1]; an excess of a thousandth is rounding and is clipped.

    Raises:
        ArtifactError: A value is beyond the ball, or not finite.
    """
    most, bound = largest(values), radius(epsilon, unit)
    if most > bound * (1 + _ROUNDING):
        raise ArtifactError(
            f"the largest value is {most:.6g} where epsilon {epsilon} allows {bound:.6g} in unit"
            f" {unit}; give another --unit" + ("" if unit == "epsilon" else " or --epsilon")
        )
    delta = np.empty(values.shape, np.float32)
    for part in _parts(values):
        delta[part] = np.clip(values[part].astype(np.float64) / bound, -1, 1)
    return delta


def from_epsilon(delta: Array, unit: str, epsilon: Fraction) -> Array:
    """Inverse of `to_epsilon`.

    Returns:
        float32 [K, 3, H, W]; for `level` the integers by which pixels are moved, at most
        floor(255 epsilon): int8, or int16 where that is above 127.
    """
    most = int(255 * epsilon)
    is_level = unit == "level"
    dtype = np.dtype(np.float32 if not is_level else np.int8 if most < 128 else np.int16)
    values = np.empty(delta.shape, dtype)
    for part in _parts(delta):
        # float32, as the poison is applied: what is exported is what is published.
        scaled = delta[part].astype(np.float32) * np.float32(radius(epsilon, unit))
        values[part] = np.rint(scaled).clip(-most, most) if is_level else scaled
    return values


def difference(
    poisoned: NDArray[np.uint8], clean: NDArray[np.uint8], epsilon: Fraction
) -> NDArray[np.float32]:
    """Perturbation of perturbed images, in units of epsilon.

    Args:
        poisoned: uint8 [N, 3, H, W].
        clean: uint8 [N, 3, H, W].
        epsilon: Above 0.

    Returns:
        float32 [N, 3, H, W] in [-1, 1]; `clean` perturbed by it is `poisoned`.

    Raises:
        ArtifactError: A pixel moved by more than floor(255 epsilon) levels.
    """
    most = int(255 * epsilon)
    delta = np.empty(clean.shape, np.float32)
    for part in _parts(clean):
        moved = poisoned[part].astype(np.int16) - clean[part]
        if (np.abs(moved) > most).any():
            row, *_ = np.unravel_index(int(np.abs(moved).argmax()), moved.shape)
            raise ArtifactError(
                f"image {part.start + int(row)} differs from the clean one by"
                f" {np.abs(moved).max()} gray levels where epsilon {epsilon} allows {most}; give"
                " images made from this dataset, or a larger --epsilon"
            )
        delta[part] = moved / radius(epsilon, "level")
    return delta


def write_npy(values: Array, stream: Any) -> None:
    """Write an array as a .npy file."""
    np.lib.format.write_array(stream, np.ascontiguousarray(values), allow_pickle=False)


def write_safetensors(arrays: Mapping[str, Array], stream: Any) -> None:
    """Write tensors as plain safetensors, the same bytes in every process."""
    specs = layout(arrays)
    stream.write(encode_header(specs, {"format": "pt"}))
    for block in payload(specs, arrays):
        stream.write(block.data)


def _check_header(path: Path) -> None:
    """Refuse a long header before numpy reads it whole; the size stands before it."""
    with path.open("rb") as file:
        start = file.read(12)
    size = int.from_bytes(start[8:12] if start[6:7] > b"\1" else start[8:10], "little")
    if size > _MAX_HEADER:
        raise ValueError(f"its header has {size} bytes")


def _is_torch(path: Path) -> bool:
    with ZipFile(path) as file:
        parts = file.infolist()
    if not any(part.filename.endswith("/data.pkl") for part in parts):
        return False
    if sum(part.file_size for part in parts) > path.stat().st_size:
        raise ArtifactError(f"{path} is compressed, which torch.save does not do; save it again")
    pickles = [part.file_size for part in parts if part.filename.endswith("/data.pkl")]
    if max(pickles) > MAX_PICKLE:
        raise ArtifactError(
            f"{path} describes its tensors in {max(pickles)} bytes; save the tensor itself"
        )
    return True


def _parts(values: Array) -> Iterator[slice]:
    """Slices of rows that hold about `_CHUNK` elements each."""
    step = max(1, _CHUNK // (values.size // len(values)))
    for start in range(0, len(values), step):
        yield slice(start, start + step)
