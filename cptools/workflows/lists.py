"""Lists of images, as an audit writes them, and the rows of a dataset that they name."""

import csv
import io
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from cptools.text import few
from cptools.workflows.csv_files import write_csv
from cptools.workflows.doors import naming
from cptools.workflows.histories import entry, main_input

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from cptools.artifacts.schema import Dataset

_log = logging.getLogger(__name__)

COLUMNS = ("row", "id", "path", "class", "score", "suspect")
_KEYS = ("path", "id", "row")  # of an image, the first that both sides have
_MAX_BYTES = 1 << 28  # of a list; a million lines of an audit have 60 million


class ImageList(NamedTuple):
    """The lines of a list that count.

    Attributes:
        path: of the file, for messages.
        digest: SHA-256 of its bytes.
        lines: the columns of each, by name.
    """

    path: str
    digest: str
    lines: list[dict[str, str]]


def write_scores(
    dataset: "Dataset", scores: "Sequence[float]", names: tuple[str, ...], path: str
) -> None:
    """Write what an audit has against each image; see `COLUMNS`.

    Args:
        dataset: which was audited.
        scores: of its training images; 1 or more makes a suspect.
        names: of their files, if they have any.
        path: the CSV file, or `-` for standard output.
    """
    ids = dataset.ids.tolist()
    num = len(ids)
    classes = [dataset.classes[label] for label in dataset.train_labels]
    told = [f"{score:.4g}" for score in scores]
    suspects = [int(score >= 1) for score in scores]
    rows = zip(range(num), ids, names or [""] * num, classes, told, suspects, strict=True)
    write_csv(path, COLUMNS, rows)


def read_list(path: str, *, name: str) -> ImageList:
    """Read a CSV file with a line for each image; of scores of an audit the suspects alone.

    Args:
        path: the file; its first line names the columns, `path`, `id` or `row` among them.
        name: of the parameter, for messages.

    Raises:
        ValueError: it is none, or lists no image.
        OSError: it cannot be read.
    """
    import hashlib

    with open(path, "rb") as file:  # noqa: PTH123 - a pipe has no path
        data = file.read(_MAX_BYTES + 1)
    with naming(name):
        if len(data) > _MAX_BYTES:
            raise ValueError(f"{path} is larger than {_MAX_BYTES >> 20} MiB; give a shorter list")
        text = io.StringIO(data.decode("utf-8-sig", "surrogateescape"), newline="")
        reader = csv.DictReader(text, strict=True, restval="")
        try:
            lines = [*reader]
        except csv.Error as error:
            raise ValueError(f"{path} is no CSV file ({error}); set it right") from None
        there = reader.fieldnames or ()
        if not {*_KEYS} & {*there}:
            raise ValueError(
                f"{path} has no column path, id or row; give the scores of `cp.audit`, or name it"
            )
        if any(None in line for line in lines):
            raise ValueError(f"{path} has a line with more columns than the first; set it right")
        if "suspect" in there:
            lines = [line for line in lines if line["suspect"].strip() in ("1", "True", "true")]
        return ImageList(path, hashlib.sha256(data).hexdigest(), lines)


def listed(
    images: ImageList,
    names: tuple[str, ...],
    ids: "Sequence[int]",
    labels: "Sequence[str]",
    *,
    name: str,
) -> "NDArray[np.bool_]":
    """Which images of a dataset a list names: by path where both have it, else by id, else by row.

    Args:
        images: the list.
        names: of the files of the images, if they have any.
        ids: of the images: their rows in the source.
        labels: names of their classes.
        name: of the parameter, for messages.

    Returns:
        bool (N,).

    Raises:
        ValueError: the list names others alone, or has an image in another class.
    """
    import numpy as np

    found = np.zeros(len(ids), dtype=np.bool_)
    if not images.lines:
        return found
    first = images.lines[0]
    has_names = bool(names) and all(line.get("path") for line in images.lines)
    key = "path" if has_names else "id" if "id" in first else "row"
    with naming(name):
        if key not in first:
            raise ValueError(
                f"{images.path} lists files, which these images are not; list them by id"
            )
        keys = names if has_names else [str(n) for n in (ids if key == "id" else range(len(ids)))]
        row_of = {one: row for row, one in enumerate(keys)}
        for line in images.lines:
            row = row_of.get(line[key])
            if row is None:
                continue
            told = line.get("class", labels[row])
            if told != labels[row]:
                raise ValueError(
                    f"{images.path} says that {key} {line[key]} is of class {told}, and it is of"
                    f" {labels[row]}; give the list of these images"
                )
            found[row] = True
        if not found.any():
            raise ValueError(f"{images.path} lists none of these images; give the list of them")
    return found


def _left(
    images: ImageList,
    names: tuple[str, ...],
    ids: "Sequence[int]",
    labels: "Sequence[str]",
    *,
    name: str,
) -> "NDArray[np.bool_]":
    """Which images are left by `drop` or `keep`; as `listed`, and `ValueError` if it is none."""
    there = listed(images, names, ids, labels, name=name)
    left = ~there if name == "drop" else there
    if not left.any():
        raise ValueError(f"`{name}`: {images.path} leaves no training image; give a shorter list")
    return left


def choose_listed(
    dataset: "Dataset", images: ImageList, names: tuple[str, ...], *, name: str
) -> "Dataset":
    """The dataset without the training images that a list names, or with these alone.

    Args:
        dataset: as it is.
        images: the list.
        names: of the files of the training images, if they have any.
        name: `drop` or `keep`.

    Raises:
        ValueError: the list is of others, or no image is left.
    """
    import numpy as np

    from cptools.artifacts.history import dataset_digest
    from cptools.artifacts.schema import Input

    labels = [dataset.classes[label] for label in dataset.train_labels]
    left = _left(images, names, dataset.ids.tolist(), labels, name=name)
    rows = np.flatnonzero(left)
    _log.info("%d of %d training images are left", len(rows), len(left))
    kept = dataset.take(rows)
    lost = np.setdiff1d(dataset.train_labels, kept.train_labels)
    if len(lost):
        _log.warning("no training images are left of %s", few([dataset.classes[n] for n in lost]))
    kept = replace(kept, train_index=dataset.ids[rows])
    inputs = {**main_input(dataset_digest(dataset)), name: Input(images.digest)}
    return replace(kept, history=(*dataset.history, entry("cp-dataset", {}, inputs)))


def copy_listed(
    path: str, folder: "str | os.PathLike[str]", images: ImageList, *, name: str
) -> int:
    """Copy the image files of a folder or archive without those that a list names, or these alone.

    Test images are copied in any case.

    Args:
        path: of the folder or archive.
        folder: to be made.
        images: the list.
        name: `drop` or `keep`.

    Returns:
        How many are copied.

    Raises:
        ValueError: the list is of others, or the folder cannot be made.
        OSError: the disk is full or fails.
    """
    from cptools.artifacts.copies import copy_images
    from cptools.artifacts.images import list_images

    listing = list_images(path)
    files = listing.train
    labels = [listing.classes[label] for label in files.labels]
    left = _left(images, files.names, range(len(labels)), labels, name=name)
    gone = [one for one, is_left in zip(files.names, left, strict=True) if not is_left]
    with naming("copy"):
        return copy_images(path, folder, gone)
