"""A dataset as a folder of PNG files, and back without loss.

Next to the images are `classes.txt` and `images.csv` (path, label and split of each image), for
other programs, and `cptools.json`, for cptools: the header that the dataset would have in a file,
the digest of its tensors, the ids of the rows in order, and the record of their corruptions. It is
trusted only if the digest confirms it.
"""

from __future__ import annotations

import csv
import errno
import os
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cptools.artifacts.atomic import sync_folder
from cptools.artifacts.codec import build, decode, encode
from cptools.artifacts.errors import ArtifactError
from cptools.artifacts.fields import Fields
from cptools.artifacts.frame import Array, layout
from cptools.artifacts.history import dataset_digest, digest
from cptools.artifacts.leftovers import temporary_folder
from cptools.artifacts.pictures import Pixels, encode_png
from cptools.artifacts.schema import Dataset
from cptools.artifacts.strict_json import dump_json, load_json

MAX_IDS = 8_000_000  # values of `cptools.json`, which has a number or two for each image
CLASSES_FILE = "classes.txt"
ABOUT_FILE = "cptools.json"
LIST_FILE = "images.csv"
_TAKEN = "exists and is not empty; name a new folder"


@dataclass(frozen=True, eq=False)
class About:
    """What an export says of itself; the header is checked, the rest is a claim.

    Attributes:
        fields: of the dataset, without its tensors.
        digest: of the tensors that were exported.
        index: int64 (N,) id of each training row, or None where a row's id is its number.
        perturbation: `train.perturbation` and `test.perturbation`, where they are recorded.
    """

    fields: dict[str, Any]
    digest: str
    index: NDArray[np.int64] | None
    perturbation: dict[str, NDArray[np.int64]]

    @property
    def is_clean(self) -> bool:
        """Whether its history is one of choosing rows alone, so that nothing is poisoned."""
        return all(entry.tool == "cp-dataset" for entry in self.fields["history"])

    def restore(self, arrays: Mapping[str, Array], classes: Sequence[str]) -> Dataset | None:
        """The dataset that was exported.

        Args:
            arrays: `train.images`, `train.labels`, `test.images`, `test.labels` as they were read
                from the folder: rows by ascending id.
            classes: Class names by label, as they were read from the folder.

        Returns:
            The dataset, or None if the images or their classes have changed.
        """
        arrays = dict(arrays)
        if self.index is not None:
            if len(self.index) != len(arrays["train.labels"]):
                return None
            rank = np.argsort(np.argsort(self.index))
            if (np.diff(rank) < 0).any():
                arrays |= {name: arrays[name][rank] for name in ("train.images", "train.labels")}
            arrays["train.index"] = self.index
        arrays |= self.perturbation
        if _folders(self.fields["classes"]) != tuple(classes) or digest(arrays) != self.digest:
            return None
        restored = build(self.fields, arrays)
        assert isinstance(restored, Dataset)
        return restored


def read_about(data: bytes, arrays: Mapping[str, Array]) -> About:
    """Read `cptools.json`, which is untrusted.

    Args:
        data: Its bytes.
        arrays: The tensors of the images next to it, which the header must match.

    Raises:
        ArtifactError: It is damaged, or of another format.
    """
    about = Fields(
        load_json(data, most=MAX_IDS),
        "about",
        ("header", "ids", "sha256"),
        ("perturbation",),
    )
    found = about.mapping("perturbation", "train|test") if "perturbation" in about else {}
    stand_ins = {f"{part}.perturbation": arrays[f"{part}.labels"] for part in found}
    fields = decode(about.raw("header"), layout({**arrays, **stand_ins}))
    if fields["kind"] != "dataset":
        raise ArtifactError(f"it is of kind {fields['kind']}; export a dataset")
    ids = None if about.raw("ids") is None else about.items("ids")
    if ids is not None and not (
        all(type(i) is int and 0 <= i < 2**63 for i in ids) and len(set(ids)) == len(ids)
    ):
        about.fail("ids", "are not different numbers")
    num = len(fields["perturbations"])
    for numbers in found.values():
        if not isinstance(numbers, list) or not all(
            type(i) is int and 0 <= i < num for i in numbers
        ):
            about.fail("perturbation", f"is not lists of numbers from 0 to {num - 1}")
    perturbation = {
        f"{part}.perturbation": np.array(numbers, dtype=np.int64) for part, numbers in found.items()
    }
    index = None if ids is None else np.array(ids, dtype=np.int64)
    return About(fields, about.digest("sha256"), index, perturbation)


def export_dataset(folder: str | os.PathLike[str], dataset: Dataset) -> None:
    """Write a dataset as `export_images` does, and `cptools.json` with all else that it holds.

    Args:
        folder: Made here; may exist if it is empty.
        dataset: Of any history.

    Raises:
        ArtifactError: As `export_images`.
        ValueError: As `export_images`.
    """
    index = dataset.train_index
    about = {
        "header": encode(dataset),
        "ids": None if index is None else index.tolist(),
        "sha256": dataset_digest(dataset),
    }
    recorded = {"train": dataset.train_perturbation, "test": dataset.test_perturbation}
    if dataset.perturbations:
        about["perturbation"] = {
            part: numbers.tolist() for part, numbers in recorded.items() if numbers is not None
        }
    export_images(
        folder,
        train_images=dataset.train_images,
        train_labels=dataset.train_labels,
        test_images=dataset.test_images,
        test_labels=dataset.test_labels,
        classes=dataset.classes,
        train_index=index,
        about=f"{dump_json(about)}\n".encode(),
    )


def export_images(
    folder: str | os.PathLike[str],
    *,
    train_images: Pixels,
    train_labels: NDArray[np.int64],
    test_images: Pixels,
    test_labels: NDArray[np.int64],
    classes: Sequence[str],
    train_index: NDArray[np.int64] | None = None,
    about: bytes | None = None,
) -> None:
    """Write `train/CLASS/000123.png`, `test/CLASS/000045.png`, `classes.txt` and `images.csv`.

    The number is the row in the dataset that the image came from (`train_index`, or else its own
    row), so reading the folder gives images, labels and class names back in the order of the ids.
    Of classes whose folders would be one on some disks, such as `A` and `a`, the later have a
    number behind their names. The folder appears whole or not at all.

    Args:
        folder: Made here; may exist if it is empty.
        train_images: uint8 (N, 3, H, W).
        train_labels: int64 (N,), positions in `classes`.
        test_images: uint8 (M, 3, H, W), M may be 0.
        test_labels: int64 (M,).
        classes: Class names; each names a folder.
        train_index: int64 (N,) distinct row ids, >= 0.
        about: What to write into `cptools.json`; None for no such file.

    Raises:
        ArtifactError: The folder is not empty or cannot be made, or a class name cannot be a
            folder's name.
        ValueError: `train_index` has repeated or negative ids.
    """
    folder = Path(folder)
    _check_class_names(classes)
    ids = np.arange(len(train_labels)) if train_index is None else train_index
    if len(np.unique(ids)) != len(train_labels) or (len(ids) and ids.min() < 0):
        raise ValueError("expected one id for each training image, all different and not negative")
    with new_folder(folder) as temporary:
        classes = _folders(classes)
        (temporary / CLASSES_FILE).write_text("".join(f"{name}\n" for name in classes), "utf-8")
        if about is not None:
            (temporary / ABOUT_FILE).write_bytes(about)
        rows = _write_split(temporary / "train", train_images, train_labels, ids, classes)
        test_ids = np.arange(len(test_labels))
        if len(test_ids):
            rows += _write_split(temporary / "test", test_images, test_labels, test_ids, classes)
        with (temporary / LIST_FILE).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([("path", "label", "split"), *rows])


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder that takes its place, whole, at the end.

    Raises:
        ArtifactError: There is a file or a folder that is not empty, or it cannot be made.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ArtifactError(f"{folder} {_TAKEN}")
    target = folder.resolve()
    with _beside(target, folder) as temporary:
        yield temporary
        os.sync()  # one for all is faster than one for each image
        try:
            temporary.replace(target)  # POSIX: also over an empty folder, and over no other
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            raise ArtifactError(f"{folder} {_TAKEN}") from None
        sync_folder(target.parent)


@contextmanager
def _beside(target: Path, folder: Path) -> Iterator[Path]:
    """A temporary folder beside a target, which the user calls `folder`."""
    with ExitStack() as stack:
        try:
            temporary = stack.enter_context(temporary_folder(target.parent))
        except OSError as error:
            raise ArtifactError(
                f"cannot make {folder}: {error.strerror}; name a folder in a writable one"
            ) from None
        yield temporary


def _check_class_names(classes: Sequence[str]) -> None:
    for name in classes:
        bad = not name or name[0] == "." or name == "__MACOSX" or re.search(r"[/\\\x00-\x1f]", name)
        if bad or name.splitlines() != [name]:
            raise ArtifactError(f"class name {name!r} cannot be a folder's name; rename the class")
    if len(set(classes)) != len(classes):
        raise ArtifactError("two classes have the same name; rename one")


def _folders(classes: Sequence[str]) -> tuple[str, ...]:
    """Names of the classes' folders, different on disks that do not tell letters apart."""
    taken, names = {_plain(name) for name in classes}, list[str]()
    used = set[str]()
    for name in classes:
        folder, number = name, 1
        while _plain(folder) in used or (number > 1 and _plain(folder) in taken):
            number += 1
            folder = f"{name}-{number}"
        used.add(_plain(folder))
        names.append(folder)
    return tuple(names)


def _plain(name: str) -> str:
    """A name as disks that tell neither case nor ways to write an accent apart compare it."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def _write_split(
    folder: Path,
    images: Pixels,
    labels: NDArray[np.int64],
    ids: NDArray[np.int64],
    classes: Sequence[str],
) -> list[tuple[str, str, str]]:
    """Write the images of a split; return (path, label, split) of each."""
    folder.mkdir()
    for name in classes:
        (folder / name).mkdir()

    names = [classes[label] for label in labels]
    files = [f"{name}/{i:06d}.png" for name, i in zip(names, ids, strict=True)]

    def write(row: int) -> None:
        (folder / files[row]).write_bytes(encode_png(images[row]))

    with ThreadPoolExecutor() as pool:
        for _ in pool.map(write, range(len(labels))):
            pass
    split = folder.name
    return [(f"{split}/{file}", name, split) for file, name in zip(files, names, strict=True)]
