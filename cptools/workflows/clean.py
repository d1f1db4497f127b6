"""Clean counterparts: which clean image each image of a poisoned dataset was made of."""

from typing import TYPE_CHECKING, Any

from cptools.workflows.datasets import clean_dataset

if TYPE_CHECKING:
    from cptools.artifacts.schema import Dataset


def clean_images(poisoned: "Dataset", given: "str | Dataset | None", *, need: str) -> Any:
    """The clean training images, uint8 [N,3,H,W], in the order of the poisoned ones.

    Args:
        poisoned: the dataset.
        given: the clean dataset or its path; None: the source in the header.
        need: what they are needed for, for the message.

    Raises:
        ValueError: they cannot be loaded, or are not those of this dataset.
    """
    side = poisoned.train_images.shape[-1]
    clean = clean_dataset(poisoned.source, given, need=need, side=side)
    rows = clean_rows(poisoned, clean)
    if clean.train_images.shape[1:] != poisoned.train_images.shape[1:]:
        raise ValueError(
            "clean and poisoned images differ in size; give the matching clean `dataset`"
        )
    if given is not None:
        _check_made_of(poisoned, clean)
    return clean.train_images if rows is None else clean.train_images[rows]


def _check_made_of(poisoned: "Dataset", clean: "Dataset") -> None:
    """Raise `ValueError` if both record their origin, and it is not the same."""
    from cptools.artifacts.history import dataset_digest

    told = [step.inputs["input"].digest for step in poisoned.history if "input" in step.inputs]
    if poisoned.source is not None:
        told.append(poisoned.source.digest)
        if clean.source is not None and clean.source.digest == poisoned.source.digest:
            return
    digest = dataset_digest(clean)
    if told and digest not in told:
        raise ValueError(
            f"{clean.name} ({digest[:12]}) is not what {poisoned.name} ({told[0][:12]}) was made"
            " of; give that dataset with `dataset`"
        )


def count_changed(poisoned: "Dataset", given: "str | Dataset | None") -> int:
    """Number of training images that differ from the clean dataset; `given` is as above."""
    clean = clean_images(poisoned, given, need="the comparison")
    return int((clean != poisoned.train_images).any(axis=(1, 2, 3)).sum())


def clean_rows(poisoned: "Dataset", clean: "Dataset") -> Any:
    """The row of the clean dataset that each training image was made from; None: the same row.

    Where rows were chosen after the clean dataset was made, both name rows of what they came from.

    Raises:
        ValueError: the clean dataset lacks some.
    """
    import numpy as np

    num = len(poisoned.train_images)
    is_told = poisoned.train_index is not None and clean.train_index is not None
    if len(clean.train_images) == num and not is_told:
        return None
    if poisoned.train_index is not None:
        ids = clean.ids
        order = np.argsort(ids)
        rows = order[
            np.searchsorted(ids, poisoned.train_index, sorter=order).clip(max=len(ids) - 1)
        ]
        if np.array_equal(ids[rows], poisoned.train_index):
            return rows
    raise ValueError(
        f"the dataset has {num} training images, not all of which are among the"
        f" {len(clean.train_images)} clean ones; give those it was made of with `dataset`"
    )
