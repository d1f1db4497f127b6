"""NumPy `.npz` files in the layout of MedMNIST.

`train_images` and `test_images` (or `val_images`, where there are none), uint8 (N, H, W) of gray or
(N, H, W, 3) of RGB; `train_labels` and `test_labels`, integers (N,) or (N, 1). Without labels the
images are unlabeled. `class_names`, text (C,), which files of cptools have, names the labels.
"""

from __future__ import annotations

import io
import math
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from cptools.artifacts.containers import Member, members, one_line, one_line_errors
from cptools.artifacts.errors import ArtifactError, SizesDiffer
from cptools.artifacts.found import MANY, Found, Rows, numbered, test_split, unlabeled
from cptools.artifacts.pictures import Pixels, resize_pixels
from cptools.artifacts.schema import Dataset
from cptools.text import few

Array = NDArray[Any]

_KEY = re.compile(r"(?:(train|val|test)_(images|labels)|(class_names))\.npy")
_MAX_HEADER = 10_000  # bytes of the header of an array, as in numpy; usually they are 100
_ROWS = 256  # written at a time
_CHUNK = 1 << 24  # bytes read at a time


def is_npz(path: Path) -> bool:
    """Whether a zip archive holds `train_images.npy`, or arrays alone."""
    with one_line_errors(path):
        names = [name for name, _ in members(path)]
    return "train_images.npy" in names or bool(names and all(n.endswith(".npy") for n in names))


def find_npz(path: Path) -> Found:
    """What a `.npz` file holds.

    Raises:
        ArtifactError: It is damaged, holds other arrays than images and labels, or several labels
            an image.
    """
    arrays: dict[str, Array] = {}
    others = []
    with one_line_errors(path):
        for name, member in members(path):
            if _KEY.fullmatch(name):
                arrays[name.removesuffix(".npy")] = _read_array(path, member)
            else:
                others.append(name.removesuffix(".npy"))
    if "train_images" not in arrays:
        raise ArtifactError(
            f"{path} has no array train_images, but {few([*arrays, *others])}; name arrays as"
            " MedMNIST does, train_images and train_labels"
        )
    test = test_split([name.split("_")[0] for name in arrays if name.endswith("_images")])
    images = {split: _images(path, f"{split}_images", arrays) for split in ("train", test) if split}
    labels = {split: _labels(path, split, len(array), arrays) for split, array in images.items()}
    names = [str(name) for name in _names(path, arrays)]
    if labels["train"] is None:
        found = unlabeled(len(images["train"]), len(images[test]) if test else None)
    else:
        if test and labels[test] is None:
            raise ArtifactError(f"{path} has train_labels but no {test}_labels; add them")
        found = numbered(path, labels["train"], labels.get(test or ""), names)

    def read(train_rows: Rows, test_rows: Rows, size: int | None) -> Pixels:
        chosen = images["train"][train_rows]
        if test and len(test_rows):
            held = images[test][test_rows]
            if size is None and held.shape[1:] != chosen.shape[1:]:
                raise SizesDiffer(
                    f"{path}: training and test images differ in size; give --size to resize them"
                )
            parts = [_fitted(part, size) for part in (chosen, held)]
            return np.concatenate(parts)
        return _fitted(chosen, size)

    return Found(*found, read)


def write_npz(dataset: Dataset, stream: IO[bytes]) -> None:
    """Write the images and labels of a dataset, and the names of its classes."""
    arrays: dict[str, Array] = {}
    for split in ("train", "test"):
        images, labels = (getattr(dataset, f"{split}_{what}") for what in ("images", "labels"))
        if len(images):
            arrays[f"{split}_images"] = images.transpose(0, 2, 3, 1)
            if dataset.is_labeled:
                arrays[f"{split}_labels"] = labels[:, None]
    if dataset.is_labeled:
        arrays["class_names"] = np.array(dataset.classes)
    with zipfile.ZipFile(stream, "w") as archive:
        for name, array in arrays.items():
            info = zipfile.ZipInfo(f"{name}.npy")  # of a date that is always the same
            with archive.open(info, "w", force_zip64=True) as file:
                # Of rows, not of the whole array, a copy in another order is made.
                header = np.lib.format.header_data_from_array_1_0(array[:0].copy())
                header["shape"] = array.shape
                np.lib.format.write_array_header_1_0(file, header)
                for start in range(0, len(array), _ROWS):
                    file.write(np.ascontiguousarray(array[start : start + _ROWS]).tobytes())


def _fitted(images: Pixels, size: int | None) -> Pixels:
    """Images (N, H, W) or (N, H, W, 3) as RGB, channels first, of a size."""
    if images.ndim == 3:
        images = np.broadcast_to(images[..., None], (*images.shape, 3))
    if size is not None and images.shape[1:3] != (size, size):
        images = resize_pixels(images, size)
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def _read_array(path: Path, member: Member) -> Array:
    """The array of a member, which holds as many bytes as its header claims, and no object."""
    with member.open() as file:
        try:
            shape, is_fortran, dtype = _header(file)
        except Exception as error:  # noqa: BLE001 - a damaged header raises nearly anything
            raise ArtifactError(
                f"{path}: {member.name} is no valid array ({one_line(error)}); save it again"
            ) from None
        if dtype.hasobject:
            raise ArtifactError(
                f"{path}: {member.name} holds Python objects, which may execute code and are not"
                " loaded; save numbers"
            )
        size = math.prod(shape) * dtype.itemsize
        if not 0 <= size <= member.size:
            raise ArtifactError(f"{path}: {member.name} is cut short; save it again")
        data = np.empty(size, np.uint8)
        for start in range(0, size, _CHUNK):
            part = file.read(min(_CHUNK, size - start))
            if len(part) != min(_CHUNK, size - start):
                raise ArtifactError(f"{path}: {member.name} is cut short; save it again")
            data[start : start + len(part)] = np.frombuffer(part, np.uint8)
    array = data.view(dtype) if size else np.empty(0, dtype)
    return array.reshape(shape, order="F" if is_fortran else "C")


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and dtype; a long header is not read whole, as numpy would."""
    start = file.read(12)
    major = start[6:7]
    width = 2 if major == b"\1" else 4
    length = int.from_bytes(start[8 : 8 + width], "little")
    if length > _MAX_HEADER or len(start) < 12:
        raise ValueError(f"its header has {length} bytes")
    rest = file.read(length - (12 - 8 - width)) if length else b""
    stream = io.BytesIO(start + rest)
    version = np.lib.format.read_magic(stream)
    readers = {(1, 0): "read_array_header_1_0", (2, 0): "read_array_header_2_0"}
    if version not in readers:
        raise ValueError(f"version {version} of the format")
    header: tuple[tuple[int, ...], bool, np.dtype[Any]]
    header = getattr(np.lib.format, readers[version])(stream)
    return header


def _images(path: Path, name: str, arrays: Mapping[str, Array]) -> Pixels:
    array = arrays[name]
    is_rgb = array.ndim == 4 and array.shape[3] == 3
    if array.dtype != np.uint8 or not (array.ndim == 3 or is_rgb) or 0 in array.shape:
        what = f"{array.dtype} {list(array.shape)}"
        raise ArtifactError(
            f"{path}: {name} is {what}, no images; give uint8 (N, H, W) or (N, H, W, 3)"
        )
    return array


def _labels(path: Path, split: str, num: int, arrays: Mapping[str, Array]) -> Array | None:
    """Integers (N,), or None where there are none."""
    name = f"{split}_labels"
    if name not in arrays:
        return None
    labels = arrays[name]
    if labels.ndim == 2 and labels.shape[1] > 1:
        raise ArtifactError(f"{path}: {name} {list(labels.shape)} {MANY}")
    if labels.dtype.kind not in "iu" or labels.shape not in ((num,), (num, 1)):
        what = f"{labels.dtype} {list(labels.shape)}"
        raise ArtifactError(f"{path}: {name} is {what}, no labels; give integers ({num},)")
    return labels.reshape(num)


def _names(path: Path, arrays: Mapping[str, Array]) -> list[str]:
    if "class_names" not in arrays:
        return []
    names = arrays["class_names"]
    if names.dtype.kind != "U" or names.ndim != 1:
        raise ArtifactError(f"{path}: class_names is {names.dtype}, no text; save it again")
    return [str(name) for name in names]
