"""Perturbations of others as deltas, and deltas for others: `cptools import`, `cptools export`."""

import io
import logging
import os
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from cptools.artifacts.schema import Dataset, Delta

_log = logging.getLogger(__name__)

UNITS = ("epsilon", "pixel", "level")
SUFFIXES = (".npy", ".pt", ".pth")

_NAMED = 6  # tensors that a message lists


def parse_radius(text: str) -> Fraction:
    """Epsilon above 0."""
    from cptools.core.epsilon import parse_epsilon

    epsilon = parse_epsilon(text)
    if not epsilon:
        raise ValueError("epsilon is 0; give a positive radius, e.g. 8/255")
    return epsilon


def import_delta(
    path: Path,
    clean: "Dataset",
    epsilon: Fraction,
    *,
    unit: str | None = None,
    mode: str | None = None,
    key: str | None = None,
    algorithm: str = "imported",
) -> "Delta":
    """Read a perturbation in another format.

    Args:
        path: .pth, .pt or .npy file; or folder or archive of perturbed images.
        clean: the clean dataset.
        epsilon: L-infinity bound, for pixels in [0, 1]; above 0.
        unit: of the values, one of `UNITS`; None: inferred from the largest.
        mode: `class` or `sample`; None: inferred from the shape.
        key: name of the tensor in a checkpoint; None for the only one that fits.
        algorithm: name of the attack.

    Raises:
        ValueError: an option does not apply or is missing, or the sizes do not fit.
        ArtifactError: the file cannot be read, or exceeds epsilon.
    """
    import numpy as np

    from cptools.artifacts.errors import ArtifactError
    from cptools.artifacts.foreign import difference, guess_unit, kind_of, largest, to_epsilon
    from cptools.artifacts.history import dataset_digest
    from cptools.artifacts.schema import Delta, Input
    from cptools.workflows.histories import entry

    kind = kind_of(path)
    if key is not None and kind != "torch":
        raise ValueError("`key` applies only to PyTorch files; leave it out")
    values = _perturbed(path, clean) if kind == "images" else _values(path, kind, key, mode, clean)
    try:
        if values.dtype == np.uint8:
            if unit is not None or mode == "class":
                raise ValueError(
                    f"{path} contains perturbed images, always sample-wise; leave `unit` and"
                    " `mode` out"
                )
            if len(values) != len(clean.train_images):
                raise ArtifactError(
                    f"{len(values)} perturbed images do not match {len(clean.train_images)}"
                    " training images; give the dataset they were made from"
                )
            mode = "sample"
            delta = difference(values, clean.train_images, epsilon)
        else:
            mode = mode or _mode(len(values), clean)
            is_judged, unit = unit is None, unit or guess_unit(values, epsilon)
            delta = to_epsilon(values, unit, epsilon)
            if is_judged:
                most = f"{largest(values):.6g}"
                _log.info("values up to %s: assuming unit %s (`unit=%s`)", most, unit, unit)
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}") from None
    parameters = {
        "input": os.path.abspath(path),  # noqa: PTH100 - links kept
        "key": key,
        "epsilon": str(epsilon),
        "unit": unit,
        "mode": mode,
        "algorithm": algorithm,
    }
    digest = dataset_digest(clean)
    inputs = {
        "input": Input(_file_digest(path, values)),
        "dataset": Input(digest, clean.history, "dataset"),
    }
    command = entry("cptools-import", parameters, inputs)
    classes = clean.classes if mode == "class" else ()
    return Delta(delta, mode, str(epsilon), algorithm, digest, (command,), classes)


def export_delta(delta: "Delta", path: str, unit: str) -> None:
    """Export a delta as a plain array, without epsilon, mode and history.

    Args:
        delta: what to write.
        path: file to write, atomically; its suffix, one of `SUFFIXES`, is the format. PyTorch
            files contain the tensor itself, as the official code expects.
        unit: one of `UNITS`.
    """
    from cptools.artifacts.atomic import atomic_write
    from cptools.artifacts.foreign import from_epsilon, write_npy

    values = from_epsilon(delta.delta, unit, Fraction(delta.epsilon))
    with atomic_write(path) as stream:
        if Path(path).suffix == ".npy":
            write_npy(values, stream)
        else:
            import torch

            torch.save(torch.from_numpy(values), stream)  # of a path, its name would be in it


def read_tensors(path: Path) -> "dict[str, Tensor]":
    """The dense tensors of a PyTorch file by name, such as `model.delta`; code in it never runs.

    Besides tensors and plain containers `argparse.Namespace` is accepted, as the checkpoints of the
    official code hold their options so (util.py: save_model).

    Raises:
        ArtifactError: the file is damaged, or holds other objects.
    """
    import argparse
    import pickle
    import re
    import warnings

    import torch

    from cptools.artifacts.errors import ArtifactError

    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
            warnings.simplefilter("ignore")
            with _limited(path) as file:
                content = torch.load(file, map_location="cpu", weights_only=True)
        tensors = _tensors(content)
        size = path.stat().st_size
        if any(tensor.untyped_storage().nbytes() > size for tensor in tensors.values()):
            raise ValueError("a tensor is larger than the file")
    except Exception as error:  # noqa: BLE001 - a damaged file raises nearly anything
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        if isinstance(error, pickle.UnpicklingError) and found:
            raise ArtifactError(
                f"{path} holds {found[1]}, which may execute code and is not loaded; save the"
                " tensor itself"
            ) from None
        raise ArtifactError(
            f"{path} is truncated or damaged, or not a PyTorch file; get it again"
        ) from None
    return tensors


def _limited(path: Path) -> "io.BufferedReader":
    """A file that ends after so many reads as no state dict takes: PyTorch reads step by step."""
    from cptools.artifacts.foreign import MAX_PICKLE

    class Limited(io.BufferedReader):
        left = MAX_PICKLE

        def read(self, size: int | None = -1) -> bytes:
            self.left -= 1
            return super().read(size) if self.left > 0 else b""

    return Limited(io.FileIO(path))


def as_array(tensor: "Tensor") -> "NDArray[Any]":
    """A tensor as an array, bfloat16 and the like as float32."""
    import torch

    if tensor.is_floating_point() and tensor.dtype not in (torch.float16, torch.float64):
        tensor = tensor.float()
    array: NDArray[Any] = tensor.numpy(force=True)
    return array


def pick(
    shapes: Mapping[str, tuple[int, ...]], key: str | None, mode: str | None, clean: "Dataset"
) -> str:
    """Choose the tensor that is a perturbation of a dataset.

    Args:
        shapes: of the tensors, by name; the name is empty for one alone.
        key: name to choose; None for the only one that fits.
        mode: `class` or `sample`, or None for either.
        clean: the dataset.

    Returns:
        A name whose shape is [K, 3, H, W] or [K, H, W, 3].

    Raises:
        ValueError: no tensor or more than one fits, or there is none of this name.
    """
    num = {"class": len(clean.classes), "sample": len(clean.train_images)}
    rows = [num[mode]] if mode else sorted(set(num.values()))
    _, channels, height, width = clean.train_images.shape
    images = ((channels, height, width), (height, width, channels))
    if key is not None and key not in shapes:
        raise ValueError(f"there is no tensor {key}, but {_told(shapes)}; give another `key`")
    names = [key] if key is not None else list(shapes)
    found = [n for n in names if shapes[n] and shapes[n][0] in rows and shapes[n][1:] in images]
    if len(found) > 1:
        raise ValueError(f"{' and '.join(found[:_NAMED])} fit the dataset; choose one with `key`")
    if not found:
        wanted = f"{' or '.join(map(str, rows))} x {channels} x {height} x {width}"
        told = _told({name: shapes[name] for name in names})
        raise ValueError(
            f"the dataset needs a tensor {wanted}, the file holds {told}; give the dataset that it"
            " was made for"
        )
    return found[0]


def _values(
    path: Path, kind: str, key: str | None, mode: str | None, clean: "Dataset"
) -> "NDArray[Any]":
    """The perturbation in a file, [K, 3, H, W]."""
    from cptools.artifacts.errors import ArtifactError
    from cptools.artifacts.foreign import channels_first, is_number, read_npy

    try:
        if kind == "numpy":
            values = read_npy(path)
            pick({"": values.shape}, None, mode, clean)
        else:
            tensors = read_tensors(path)
            shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
            values = as_array(tensors[pick(shapes, key, mode, clean)])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if not is_number(values):
        raise ArtifactError(
            f"{path} contains {values.dtype}; give floats, signed integers, or uint8 images"
        )
    return channels_first(values)


def _perturbed(path: Path, clean: "Dataset") -> "NDArray[Any]":
    """Perturbed training images of a folder or archive, in the order of the dataset's rows."""
    import numpy as np

    from cptools.artifacts.errors import ArtifactError
    from cptools.artifacts.images import list_images, read_images

    names = list_images(path).train.names
    if len(names) != len(clean.train_images):
        raise ArtifactError(
            f"{path} holds {len(names)} training images, the dataset {len(clean.train_images)};"
            " give the dataset they were made from"
        )
    images = read_images(path, names)
    if images.shape != clean.train_images.shape:
        (_, _, *size), (_, _, *wanted) = images.shape, clean.train_images.shape
        raise ArtifactError(
            f"{path} holds images of {size[1]}x{size[0]} pixels, the dataset of"
            f" {wanted[1]}x{wanted[0]}; give the dataset they were made from"
        )
    if clean.train_index is None:
        return images
    return images[np.argsort(np.argsort(clean.train_index))]  # files come by ascending id


def _mode(num: int, clean: "Dataset") -> str:
    """`class` or `sample`, by the number of perturbations, which is one of the two."""
    if len(clean.classes) == len(clean.train_images):
        raise ValueError(
            f"the dataset has {num} classes and as many images; give `mode=class` or `mode=sample`"
        )
    return "class" if num == len(clean.classes) else "sample"


def _tensors(content: Any) -> "dict[str, Tensor]":
    """Dense tensors in nested containers, by the dotted path to each; each container once."""
    import torch

    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    waiting: list[tuple[str, Any]] = [("", content)]
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, torch.Tensor):
            is_dense = value.layout == torch.strided and not value.is_meta
            if is_dense and not value.is_quantized and not value.is_complex():
                found[name] = value
        elif isinstance(value, Mapping | list | tuple) and id(value) not in seen:
            seen.add(id(value))
            items = value.items() if isinstance(value, Mapping) else enumerate(value)
            inner = [(f"{name}.{key}" if name else str(key), item) for key, item in items]
            waiting += reversed(inner)
    return found


def _told(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Names and shapes for a message."""
    told = [f"{name} {list(shape)}".strip() for name, shape in shapes.items()]
    rest = f" and {len(told) - _NAMED} more" if len(told) > _NAMED else ""
    return (", ".join(told[:_NAMED]) or "no tensor") + rest


def _file_digest(path: Path, values: "NDArray[Any]") -> str:
    """SHA-256 of a file, or of the images in a folder."""
    import hashlib

    from cptools.artifacts.history import digest

    if path.is_dir():
        return digest({"train.images": values})
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
