"""Image folders and archives in ImageFolder layout.

Layout: `train/CLASS/FILE` and `test/CLASS/FILE` (`val/` is taken where there is no `test/`), or
`CLASS/FILE` alone, which has no test split; or, of images without labels, the same without the
folders of classes. All of it may lie in one top folder. Hidden files and `__MACOSX` are passed
over, and so are files whose suffix no image format has, which is remarked.

Classes are sorted by name, unless a `classes.txt` beside `train/` lists exactly these classes in
another order; in a folder that `export_dataset` wrote, `classes.txt` may list more of them. Files
are sorted by class, then naturally (`9.png` before `10.png`). Where all names in a split are
numbers and no number occurs twice in it, they are row ids, as `export_images` writes them, and
images come in the order of the ids.

Listing and decoding are separate, so that a choice of rows is made before anything is decoded:

    found = list_images(path)
    names = [found.train.names[row] for row in rows]
    images = read_images(path, names, size=32)
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cptools.artifacts.containers import members, one_line_errors
from cptools.artifacts.errors import ArtifactError
from cptools.artifacts.export import ABOUT_FILE, CLASSES_FILE, LIST_FILE, export_images
from cptools.artifacts.found import Found, Rows
from cptools.artifacts.pictures import Pixels, decode_pictures, is_picture
from cptools.artifacts.schema import UNLABELED
from cptools.text import few

__all__ = [
    "Files",
    "Listing",
    "Pixels",
    "export_images",
    "find_images",
    "list_images",
    "read_images",
]

_TEST_FOLDERS = ("test", "val")  # the first that is there


class Files(NamedTuple):
    """The images of a split: names inside the container, and int64 labels (N,)."""

    names: tuple[str, ...]
    labels: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Listing:
    """What a folder or archive holds.

    Attributes:
        classes: Class names by label.
        train: Training images; every class has one or more, except in an export.
        test: Test images, or None where there is no test folder.
        about: What an export says of itself, for `export.read_about`; None for other folders.
        remarks: What was left out and why, a line each.
    """

    classes: tuple[str, ...]
    train: Files
    test: Files | None
    about: bytes | None
    remarks: tuple[str, ...] = ()


def find_images(path: str | os.PathLike[str]) -> Found:
    """What a folder or archive of images holds; see `list_images`."""
    listing = list_images(path)
    train, test = listing.train, listing.test

    def read(train_rows: Rows, test_rows: Rows, size: int | None) -> Pixels:
        names = [train.names[row] for row in train_rows]
        names += [test.names[row] for row in test_rows] if test else []
        return read_images(path, names, size=size)

    labels = None if test is None else test.labels
    return Found(
        listing.classes, train.labels, labels, read, listing.about, train.names, listing.remarks
    )


def list_images(path: str | os.PathLike[str]) -> Listing:
    """List images and labels without decoding any.

    Raises:
        ArtifactError: The path is no image folder or archive, is damaged, holds no images, or a
            test class that the training split lacks; or some images have a class, others none.
    """
    path = Path(path)
    names, class_lines, about, others = _names(path)
    passed_over = _passed_over(others)
    if not names:
        none = f"{path} contains no images"
        if others:
            none += f" that can be read ({passed_over})"
        raise ArtifactError(f"{none}; expected e.g. train/CLASS/*.jpg")
    table = _by_split(path, names)
    classes = _class_order(table, class_lines, is_export=about is not None)
    for name, _, file in table.get("test", []):
        if name not in classes:
            raise ArtifactError(
                f"{path}: class {name!r} ({file}) has test images but no training images;"
                " add some or leave it out"
            )
    empty = _empty_classes(path, table["train"])
    remarks = [f"{path}: {passed_over}"] if others else []
    if empty:
        remarks.append(f"{path}: no images in the folders of {few(empty)}")
    test = _ordered(table["test"], classes) if "test" in table else None
    return Listing(classes, _ordered(table["train"], classes), test, about, tuple(remarks))


def read_images(
    path: str | os.PathLike[str], names: Sequence[str], *, size: int | None = None
) -> Pixels:
    """Decode images, in the order of `names`.

    Any mode becomes 8-bit RGB: what is transparent is put on white, 16-bit gray is scaled, JPEG
    photographs are turned upright by their EXIF orientation, of an animation the first frame is
    taken.

    Args:
        path: Folder or archive.
        names: As `list_images` gave them, without repetition.
        size: Height and width of the result, >= 1: the central square, resized by Lanczos. None
            takes the pixels as they are; all images must then have one size.

    Returns:
        uint8 (N, 3, H, W), N = len(names).

    Raises:
        ArtifactError: A file is missing, broken, too large, or differs in size.
        ValueError: No or repeated names, or `size` below 1.
    """
    path = Path(path)
    row_of = {name: row for row, name in enumerate(names)}
    if not names or len(row_of) != len(names):
        raise ValueError("expected one name or more, none of them twice")
    return decode_pictures(path, names, _files(path, row_of), size=size)


def _files(path: Path, row_of: Mapping[str, int]) -> Iterator[tuple[int, bytes]]:
    """Row and bytes of the wanted files, in the container's order."""
    with one_line_errors(path):
        for name, member in members(path):
            if name in row_of:
                yield row_of[name], member.read()


# Layout


def _by_split(path: Path, names: Sequence[str]) -> dict[str, list[tuple[str, str, str]]]:
    """(class, file in class, name) by split, "train" and perhaps "test"."""
    parts = [tuple(part for part in name.split("/") if part not in ("", ".")) for name in names]
    splits = ("train", *_TEST_FOLDERS)
    tops = {p[0] for p in parts}
    if len(tops) == 1 and not tops & set(splits) and any(len(p) > 2 for p in parts):
        parts = [p[1:] for p in parts]  # everything lies in one top folder
        tops = {p[0] for p in parts if len(p) > 1}
    if "train" not in tops:
        if tops & set(splits):
            found = ", ".join(sorted(tops & set(splits)))
            raise ArtifactError(f"{path} has {found} but no train folder; add train/CLASS/*.jpg")
        parts = [("train", *p) for p in parts]
    if all(len(part) == 2 for part in parts if part[0] == "train"):  # no folders of classes
        parts = [(p[0], UNLABELED, p[1]) if len(p) == 2 else p for p in parts]
    table: dict[str, list[tuple[str, str, str]]] = {}
    for part, name in zip(parts, names, strict=True):
        if part[0] not in splits:
            continue
        if len(part) < 3:
            if part[0] in _TEST_FOLDERS:
                continue  # unlabeled test images, as ImageNet has them
            raise ArtifactError(
                f"{path}: {name} is in no class folder, others are; expected train/CLASS/{part[-1]}"
            )
        table.setdefault(part[0], []).append((part[1], "/".join(part[2:]), name))
    for test_folder in _TEST_FOLDERS:
        if test_folder in table:
            return {"train": table["train"], "test": table[test_folder]}
    return {"train": table["train"]}


def _empty_classes(path: Path, train: Sequence[tuple[str, str, str]]) -> list[str]:
    """Folders beside those of the classes, without a training image."""
    name, file, whole = train[0]
    if name == UNLABELED or not path.is_dir():
        return []
    beside = (path / whole.removesuffix(f"{name}/{file}")).iterdir()
    classes = {name for name, _, _ in train}
    folders = (one.name for one in beside if one.is_dir() and not _is_hidden(one.name))
    return sorted(folder for folder in folders if folder not in classes)


def _class_order(
    table: dict[str, list[tuple[str, str, str]]], lines: Sequence[str], *, is_export: bool
) -> tuple[str, ...]:
    """Class names by label: `lines` where they fit, else those of the training images, sorted."""
    train = {name for name, _, _ in table["train"]}
    there = {name for rows in table.values() for name, _, _ in rows}
    fits = set(lines) >= there if is_export else set(lines) == train
    return tuple(lines) if fits and len(set(lines)) == len(lines) else tuple(sorted(train))


def _ordered(rows: list[tuple[str, str, str]], classes: Sequence[str]) -> Files:
    label_of = {name: label for label, name in enumerate(classes)}
    stems = [re.fullmatch(r"([0-9]{1,19})\.[^.]*", file) for _, file, _ in rows]
    ids = [int(stem[1]) for stem in stems if stem]
    if len(ids) == len(rows) == len(set(ids)):
        rows = [row for _, row in sorted(zip(ids, rows, strict=True))]
    else:
        rows = sorted(rows, key=lambda row: (label_of[row[0]], _natural(row[1])))
    labels = np.array([label_of[row[0]] for row in rows], dtype=np.int64)
    return Files(tuple(row[2] for row in rows), labels)


def _natural(name: str) -> tuple[tuple[str | tuple[int, str], ...], str]:
    """Sort key in which a run of digits counts as a number; the name itself breaks ties."""
    pieces: list[str | tuple[int, str]] = list(re.split(r"([0-9]+)", name))
    for k in range(1, len(pieces), 2):
        digits = str(pieces[k]).lstrip("0")
        pieces[k] = (len(digits), digits)
    return tuple(pieces), name


def _is_image(name: str) -> bool:
    return not _is_hidden(name) and is_picture(name)


def _is_hidden(name: str) -> bool:
    parts = name.split("/")
    return "__MACOSX" in parts or any(part.startswith(".") and part != "." for part in parts)


def _is_beside_train(name: str, file: str) -> bool:
    """Whether a name is that of a file beside `train/`, which may lie in one top folder."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return parts[-1:] == [file] and len(parts) <= 2


def _passed_over(others: Sequence[str]) -> str:
    """How many files are no images, and of what kinds, the most frequent first."""
    kinds = Counter(Path(name).suffix or "no suffix" for name in others)
    files = "1 file" if len(others) == 1 else f"{len(others)} files"
    return f"passed over {files} ({few([kind for kind, _ in kinds.most_common()])})"


def _names(path: Path) -> tuple[list[str], list[str], bytes | None, list[str]]:
    """Names of images in a container, lines of `classes.txt`, `cptools.json`, names of the rest."""
    names: list[str] = []
    lines: list[str] = []
    about = None
    others: list[str] = []
    with one_line_errors(path):
        for name, member in members(path):
            if _is_image(name):
                names.append(name)
            elif _is_beside_train(name, CLASSES_FILE):
                lines = member.read().decode("utf-8", "replace").splitlines()
            elif _is_beside_train(name, ABOUT_FILE):
                about = member.read()
            elif not _is_hidden(name) and not _is_beside_train(name, LIST_FILE):
                others.append(name)
    if len(set(names)) != len(names):
        twice = Counter(names).most_common(1)[0][0]
        raise ArtifactError(f"{path} contains {twice} twice; pack it again")
    return names, lines, about, others
