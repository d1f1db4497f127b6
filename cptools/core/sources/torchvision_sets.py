"""CIFAR-10, CIFAR-100 and STL-10 through torchvision, downloaded once into a cache folder.

torchvision (and with it torch) is imported only when a set is read.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = tuple[
    NDArray[np.uint8], NDArray[np.int64], NDArray[np.uint8], NDArray[np.int64], tuple[str, ...]
]


class DownloadError(OSError):
    """A set is not in the cache and could not be downloaded; the message is one line."""


def cifar10(root: str | os.PathLike[str]) -> Arrays:
    """CIFAR-10 (Krizhevsky, 2009): 50,000 and 10,000 images of 32x32, ten classes.

    Args:
        root: Cache folder; made, and filled by a download of 170 MB, where it lacks the set.

    Returns:
        (train_images, train_labels, test_images, test_labels, class_names): uint8 (N, 3, H, W),
        int64 (N,).

    Raises:
        DownloadError: The set is not in `root` and cannot be downloaded.
    """
    return _read("cifar10", Path(root), _cifar("CIFAR10"))


def cifar100(root: str | os.PathLike[str]) -> Arrays:
    """CIFAR-100 (Krizhevsky, 2009) with its 100 fine classes; see `cifar10`."""
    return _read("cifar100", Path(root), _cifar("CIFAR100"))


def stl10(root: str | os.PathLike[str]) -> Arrays:
    """STL-10 (Coates et al., 2011): 5,000 and 8,000 labeled images of 96x96; see `cifar10`.

    The download is 2.6 GB, because it holds the unlabeled images too; they are not returned.
    """

    def open_split(root: Path, train: bool, download: bool) -> Any:
        split = "train" if train else "test"
        return _dataset_class("STL10")(root, split=split, download=download)

    return _read("stl10", Path(root), open_split)


SETS: dict[str, Callable[[str | os.PathLike[str]], Arrays]] = {
    "cifar10": cifar10,
    "cifar100": cifar100,
    "stl10": stl10,
}


def _dataset_class(name: str) -> Any:
    return getattr(importlib.import_module("torchvision.datasets"), name)


def _cifar(name: str) -> Callable[[Path, bool, bool], Any]:
    def open_split(root: Path, train: bool, download: bool) -> Any:
        return _dataset_class(name)(root, train=train, download=download)

    return open_split


def _read(name: str, root: Path, open_split: Callable[[Path, bool, bool], Any]) -> Arrays:
    folder = root / name
    if not folder.is_dir():
        _download(name, folder, open_split)
    try:
        train, test = open_split(folder, True, False), open_split(folder, False, False)
    except RuntimeError as error:  # torchvision compares checksums
        raise DownloadError(
            f"{name} in {folder} is damaged ({_line(error)}); remove that folder and try again"
        ) from None
    return (*_arrays(train), *_arrays(test), tuple(str(c) for c in train.classes))


def _download(name: str, folder: Path, open_split: Callable[[Path, bool, bool], Any]) -> None:
    """Fill a temporary folder beside `folder`, then rename it: all of it is there, or nothing."""
    temporary: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=folder.parent))
        with contextlib.redirect_stdout(sys.stderr):  # torchvision prints; stdout carries data
            open_split(temporary, True, True)
        temporary.rename(folder)
    except (OSError, RuntimeError, EOFError) as error:  # no network, bad checksum, full disk
        if folder.is_dir():  # another process was quicker
            return
        raise DownloadError(
            f"cannot download {name} ({_line(error)});"
            " without a network give a folder or archive instead: cp-dataset PATH"
        ) from None
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _arrays(split: Any) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images (N, 3, H, W) and labels of a torchvision dataset held in memory."""
    images = np.asarray(split.data, dtype=np.uint8)
    if images.shape[1] != 3:  # CIFAR: (N, H, W, 3); STL-10 has its channels first
        images = images.transpose(0, 3, 1, 2)
    labels = np.asarray(getattr(split, "targets", None) or split.labels, dtype=np.int64)
    return np.ascontiguousarray(images), labels


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()).strip("<>") or type(error).__name__
