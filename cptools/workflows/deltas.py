"""Deltas, and the datasets that they belong to."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import os

    from cptools.artifacts.schema import Dataset, Delta


def read_delta(path: "str | os.PathLike[str]") -> "Delta":
    """Read and check a delta.

    Raises:
        ArtifactError: it is not a valid delta.
    """
    from cptools.artifacts.schema import Delta
    from cptools.artifacts.stream import open_artifact

    delta = open_artifact(path, expect=("delta",)).read()
    assert isinstance(delta, Delta)
    return delta


def check_fits(delta: "Delta", dataset: "Dataset", digest: str | None = None, *, name: str) -> None:
    """Check that a delta was made for this dataset.

    Args:
        delta: what would be applied.
        dataset: what it would be applied to.
        digest: of that dataset's tensors, if already known.
        name: of the parameter to give in another way.

    Raises:
        ValueError: another dataset, number of rows or image size.
    """
    from cptools.artifacts.history import dataset_digest

    digest = digest or dataset_digest(dataset)
    if delta.dataset != digest:
        raise ValueError(
            f"`{name}`: the delta was made for dataset {delta.dataset[:12]}, this one is"
            f" {digest[:12]}; give the dataset that it was made for"
        )
    num = len(dataset.classes) if delta.mode == "class" else len(dataset.train_images)
    if len(delta.delta) != num or delta.delta.shape[1:] != dataset.train_images.shape[1:]:
        raise ValueError(
            f"`{name}`: the {delta.mode}-wise delta is {'x'.join(map(str, delta.delta.shape))}, the"
            f" dataset has {len(dataset.train_images)} images of {dataset.train_images.shape[-1]}"
            f" pixels in {len(dataset.classes)} classes; give the dataset that it was made for"
        )


def poisoned_images(delta: "Delta", dataset: "Dataset", chosen: Any) -> Any:
    """Training images with a delta applied, uint8.

    Args:
        delta: made for the dataset.
        dataset: the clean one.
        chosen: which images, as a numpy index.

    Raises:
        ValueError: the delta is for another dataset.
    """
    import torch

    from cptools.core.epsilon import parse_epsilon
    from cptools.core.poisons.base import rows_of
    from cptools.core.poisons.budget import poison_uint8

    check_fits(delta, dataset, name="dataset")
    images = torch.from_numpy(dataset.train_images[chosen])
    rows = rows_of(torch.from_numpy(dataset.train_labels), delta.mode)[chosen]
    noise = torch.from_numpy(delta.delta)
    return poison_uint8(images, noise, rows, parse_epsilon(delta.epsilon)).numpy()
