"""Names of the files that training images came from, found again where the files lie.

A dataset holds no names, because names of photographs tell of their owner and datasets are
published. It knows its source, and listing that again takes no decoding.
"""

from typing import TYPE_CHECKING, Any

from cptools.workflows.csv_files import write_csv
from cptools.workflows.datasets import SOURCES, cache_folder, find_source
from cptools.workflows.origins import check_source

if TYPE_CHECKING:
    import os

    from cptools.artifacts.found import Found
    from cptools.artifacts.schema import Dataset

COLUMNS = ("row", "id", "path")


def listed_names(path: str, options: dict[str, Any], dataset: "Dataset") -> tuple[str, ...]:
    """Names of the files of a dataset's training images, by row.

    Args:
        path: what `make_dataset` made the dataset of.
        options: that it was given.
        dataset: what it made.

    Returns:
        Names within the folder, archive or list; empty where images are not files of their own.
    """
    if path in SOURCES:
        return ()
    given = {name: value for name, value in options.items() if value is not None}
    return _names(find_source(path, given), dataset)


def _names(found: "Found", dataset: "Dataset") -> tuple[str, ...]:
    import numpy as np

    rows = dataset.train_index
    if not found.names or rows is None:
        return found.names
    if len(found.names) == len(rows):  # an export: files by ascending id
        rows = np.argsort(np.argsort(rows))
    return tuple(found.names[row] for row in rows)


def source_names(dataset: "Dataset") -> tuple[str, ...]:
    """Names of the files of a dataset's training images, from the source that it names.

    Returns:
        As `listed_names`.

    Raises:
        ValueError: the dataset is not clean, or its source is not there as it was.
    """
    source, side = dataset.source, dataset.train_images.shape[-1]
    if source is None or any(step.tool != "cp-dataset" for step in dataset.history):
        raise ValueError(f"{dataset.name} is not a clean dataset, which knows its files; give that")
    try:
        options = check_source(source, cache_folder(), side)
        found = None if source.name in SOURCES else find_source(source.name, options)
        is_there = found is None or _is_there(found, options, dataset)
    except (ValueError, OSError) as error:
        raise ValueError(f"{source.name} cannot be listed again: {error}") from None
    if not is_there:
        raise ValueError(f"{source.name} has changed since {dataset.name} was made; make it again")
    return () if found is None else _names(found, dataset)


def names_or_none(dataset: "Dataset") -> tuple[str, ...]:
    """As `source_names`; empty where they cannot be had."""
    try:
        return source_names(dataset)
    except ValueError:
        return ()


def _is_there(found: "Found", options: dict[str, Any], dataset: "Dataset") -> bool:
    """Whether labels, and first and last image, are still those of the dataset."""
    import numpy as np

    from cptools.core.sources.contrast import scale_contrast

    num = len(found.train)
    rows = np.arange(num) if dataset.train_index is None else dataset.train_index
    if len(rows) != len(dataset.train_labels) or rows.max() >= num:
        return False
    classes = [found.classes[label] for label in found.train[rows]]
    if classes != [dataset.classes[label] for label in dataset.train_labels]:
        return False
    ends = np.unique([0, len(rows) - 1])
    images = found.read(rows[ends], rows[:0], options.get("size"))
    if "contrast" in options:
        images = scale_contrast(images, options["contrast"])
    return np.array_equal(images, dataset.train_images[ends])


def write_names(names: tuple[str, ...], dataset: "Dataset", path: "str | os.PathLike[str]") -> None:
    """Write a CSV file of row, id (row in the source) and path of each training image.

    Args:
        names: of the training images; see `listed_names`.
        dataset: whose they are.
        path: the file, or `-` for standard output.

    Raises:
        ValueError: there are no names.
    """
    if not names:
        raise ValueError(
            f"`names`: the images of {dataset.name} are not files of their own; leave it out"
        )
    write_csv(path, COLUMNS, zip(range(len(names)), dataset.ids.tolist(), names, strict=True))
