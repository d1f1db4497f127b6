"""What every reader of datasets in other formats finds: labels now, images when rows are chosen."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cptools.artifacts.errors import ArtifactError
from cptools.artifacts.pictures import Pixels
from cptools.artifacts.schema import UNLABELED

Labels = NDArray[np.int64]
Rows = NDArray[np.int64]

MAX_ROWS = 4_000_000  # images of a dataset; ImageNet-1k has 1.3 million
_TESTS = ("test", "val", "valid", "validation")  # the first that is there

MANY = "has several labels an image (multi-label), where cptools knows one; choose one of them"


@dataclass(frozen=True, eq=False)
class Found:
    """Labeled images of which none is decoded yet.

    Attributes:
        classes: Class names by label; `UNLABELED` alone where there are no labels.
        train: int64 (N,), labels of the training images.
        test: int64 (M,), or None where there is no test split.
        read: From rows of the training split, rows of the test split and a size in pixels or None
            to uint8 (rows, 3, H, W), training images first; `ArtifactError` if they cannot be
            read, are no images, or differ in size.
        about: What an export says of itself, for `export.read_about`; None for other data.
        names: Of the files of the training images, within the folder, archive or list that was
            given; empty where images are not files of their own.
        remarks: What was left out and why, a line each.
    """

    classes: tuple[str, ...]
    train: Labels
    test: Labels | None
    read: Callable[[Rows, Rows, int | None], Pixels]
    about: bytes | None = None
    names: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def split_of(name: str) -> str:
    """The split that a name tells, such as that of a file: `train`, or a key of test splits."""
    words = set(re.split(r"[^a-z]+", name.lower()))
    return (
        "train" if "train" in words else next((word for word in _TESTS if word in words), "train")
    )


def test_split(splits: Sequence[str]) -> str | None:
    """The split to test on among those that are there."""
    return next((word for word in _TESTS if word in splits), None)


def number_labels(
    path: object, train: Sequence[str], test: Sequence[str] | None, *, order: Sequence[str] = ()
) -> tuple[tuple[str, ...], Labels, Labels | None]:
    """Classes and labels of images whose classes are told by name.

    Args:
        path: For messages.
        train: The class of each training image; empty text for those without.
        test: Of each test image; None where there are none.
        order: Class names in an order that is taken if it has all that are there; otherwise they
            are sorted, numbers by value.

    Returns:
        Class names by label, labels of the training images, and of the test images.

    Raises:
        ArtifactError: Some images have a class and some have none, or a class has test images
            alone.
    """
    there = set(train)
    if "" in there and len(there) > 1:
        row = [*train].index("")
        raise ArtifactError(f"{path}: training image {row} has no label, others have; add it")
    if there == {""} and not any(test or ()):
        num = None if test is None else len(test)
        return unlabeled(len(train), num)
    for name in test or ():
        if name not in there:
            raise ArtifactError(
                f"{path}: class {name!r} has test images but no training images; add some or leave"
                " it out"
            )
    are_numbers = all(re.fullmatch(r"-?[0-9]{1,18}", name) for name in there)
    classes = sorted(there, key=int) if are_numbers else sorted(there)
    if there <= set(order) and len(set(order)) == len(order):
        classes = [name for name in order if name in there]
    label_of = {name: label for label, name in enumerate(classes)}
    labels = [np.array([label_of[n] for n in names], np.int64) for names in (train, test or ())]
    return tuple(classes), labels[0], None if test is None else labels[1]


def numbered(
    path: object, train: Any, test: Any, names: Sequence[str]
) -> tuple[tuple[str, ...], Labels, Labels | None]:
    """Classes and labels of images that have numbers, which are positions in `names`, if given.

    Args:
        path: For messages.
        train: Integers (N,).
        test: Integers (M,), or None.
        names: Class names by label; without any, the numbers themselves are the names.

    Raises:
        ArtifactError: A number has no name, or a class has test images alone.
    """
    if not names:
        text = [None if part is None else [str(n) for n in part.tolist()] for part in (train, test)]
        return number_labels(path, text[0] or [], text[1])
    for part in (train, test):
        if part is not None and len(part) and not 0 <= part.min() <= part.max() < len(names):
            worst = part.min() if part.min() < 0 else part.max()
            raise ArtifactError(
                f"{path}: label {worst} is none of the {len(names)} classes that it names; set it"
                " right"
            )
    labels = [None if part is None else part.astype(np.int64) for part in (train, test)]
    assert labels[0] is not None
    return tuple(names), labels[0], labels[1]


def unlabeled(train: int, test: int | None) -> tuple[tuple[str, ...], Labels, Labels | None]:
    """Classes and labels of images that have none: all are of the one class `UNLABELED`."""
    zeros = None if test is None else np.zeros(test, np.int64)
    return (UNLABELED,), np.zeros(train, np.int64), zeros
