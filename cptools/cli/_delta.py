"""Deltas and the datasets they belong to."""

from typing import TYPE_CHECKING

from cptools.cli._app import UsageError

if TYPE_CHECKING:
    from cptools.artifacts.schema import Dataset, Delta


def read_delta(path: str) -> "Delta":
    """Read and check a delta."""
    from cptools.artifacts.schema import Delta
    from cptools.artifacts.stream import open_artifact

    delta = open_artifact(path, expect=("delta",)).read()
    assert isinstance(delta, Delta)
    return delta


def check_fits(delta: "Delta", dataset: "Dataset", digest: str) -> None:
    """Refuse a delta that was not made for this dataset.

    Args:
        delta: what would be applied.
        dataset: what it would be applied to.
        digest: of that dataset's tensors.

    Raises:
        UsageError: another dataset, number of rows or image size.
    """
    if delta.dataset != digest:
        raise UsageError(
            f"the delta belongs to the dataset {delta.dataset[:12]}, this one is {digest[:12]};"
            " give the dataset that it was made for"
        )
    num = len(dataset.classes) if delta.mode == "class" else len(dataset.train_images)
    if len(delta.delta) != num or delta.delta.shape[1:] != dataset.train_images.shape[1:]:
        raise UsageError(
            f"the {delta.mode}-wise delta is {'x'.join(map(str, delta.delta.shape))}, the dataset"
            f" has {len(dataset.train_images)} images of {dataset.train_images.shape[-1]} pixels in"
            f" {len(dataset.classes)} classes; give the dataset that it was made for"
        )
