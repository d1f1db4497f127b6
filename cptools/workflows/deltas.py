"""Deltas, and the datasets that they may be applied to.

A sample-wise delta belongs to the dataset that it was made for, row by row. A class-wise one fits
every dataset whose images have its size: by the names of the classes, or, where its rows are of
clusters, by the features of the images.
"""

import logging
from typing import TYPE_CHECKING, Any

from cptools.text import shown
from cptools.workflows.assign import assigning
from cptools.workflows.doors import check_labeled, naming
from cptools.workflows.histories import changes

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

    from cptools.artifacts.schema import Dataset, Delta

_NAMED = 5  # classes in a message

_log = logging.getLogger(__name__)


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


def rows_of_images(
    delta: "Delta", dataset: "Dataset", digest: str | None = None, *, name: str
) -> "NDArray[Any]":
    """Row of a delta for each training image of a dataset, int64 [N].

    Args:
        delta: what would be applied.
        dataset: what it would be applied to.
        digest: of that dataset's tensors, if already known.
        name: of the parameter to give in another way.

    Raises:
        ValueError: another image size; a class that the delta does not know; or another dataset,
            where only the one that the delta was made for will do.
    """
    import numpy as np

    if delta.assigner is not None:
        digest = _check_size(delta, dataset, digest, name)
        _note_another(delta, dataset, digest, name, "by the nearest cluster of each image")
        return assigning(delta)(dataset.train_images)
    if delta.mode == "class":
        return rows_of_classes(delta, dataset, digest, name=name)[dataset.train_labels]
    _check_same(delta, dataset, digest, name)
    return np.arange(len(dataset.train_images))


def rows_of_classes(
    delta: "Delta", dataset: "Dataset", digest: str | None = None, *, name: str
) -> "NDArray[Any]":
    """Row of a class-wise delta for each class of a dataset, int64 [C]; as `rows_of_images`."""
    import numpy as np

    if not delta.classes:  # of an older version
        _check_same(delta, dataset, digest, name)
        return np.arange(len(dataset.classes))
    digest = _check_size(delta, dataset, digest, name)
    with naming(name):
        check_labeled(dataset, "a class-wise delta", ", or a delta made with `clusters`")
    row_of = {one: row for row, one in enumerate(delta.classes)}
    lacking = [one for one in dataset.classes if one not in row_of]
    if lacking:
        raise ValueError(
            f"`{name}`: the delta has no row for {_listed(lacking)}, but for"
            f" {_listed(delta.classes)}; give a dataset of these classes, or a delta of its own"
        )
    _note_another(delta, dataset, digest, name, "by the names of the classes")
    return np.array([row_of[one] for one in dataset.classes])


def _check_size(delta: "Delta", dataset: "Dataset", digest: str | None, name: str) -> str:
    """Refuse images of another size; the digest of the dataset."""
    from cptools.artifacts.history import dataset_digest

    (*_, height, width), wanted = delta.delta.shape, dataset.train_images.shape[-2:]
    if (height, width) != wanted:
        raise ValueError(
            f"`{name}`: the delta is for images of {width}x{height} pixels, this dataset has"
            f" {wanted[1]}x{wanted[0]}; load it with `size={width}`"
        )
    return digest or dataset_digest(dataset)


def _check_same(delta: "Delta", dataset: "Dataset", digest: str | None, name: str) -> None:
    """Refuse another dataset than the one that the delta was made for."""
    from cptools.artifacts.history import dataset_digest

    digest = digest or dataset_digest(dataset)
    if delta.dataset != digest:
        instead = ", or a delta that names its classes, as are written now"
        raise ValueError(
            f"`{name}`: the {delta.mode}-wise delta was made for dataset {delta.dataset[:12]}, this"
            f" one is {digest[:12]}; give the dataset that it was made for"
            + (instead if delta.mode == "class" else "")
        )
    num = len(dataset.classes) if delta.mode == "class" else len(dataset.train_images)
    if len(delta.delta) != num or delta.delta.shape[1:] != dataset.train_images.shape[1:]:
        raise ValueError(
            f"`{name}`: the {delta.mode}-wise delta is {'x'.join(map(str, delta.delta.shape))}, the"
            f" dataset has {len(dataset.train_images)} images of {dataset.train_images.shape[-1]}"
            f" pixels in {len(dataset.classes)} classes; give the dataset that it was made for"
        )


def _note_another(delta: "Delta", dataset: "Dataset", digest: str, name: str, how: str) -> None:
    """Say that the dataset is another one than the delta's; refuse one that is poisoned already."""
    if delta.dataset == digest:
        return
    if "poison" in changes(dataset.history):
        raise ValueError(
            f"`{name}`: the images are poisoned already, and twice would exceed the bound; give the"
            " clean dataset"
        )
    _log.warning(
        "the delta was made for dataset %s, this one is %s: applied %s",
        *(delta.dataset[:12], digest[:12], how),
    )


def _listed(names: "tuple[str, ...] | list[str]") -> str:
    rest = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(shown(name[:40]) for name in names[:_NAMED]) + rest


def poisoned_images(delta: "Delta", dataset: "Dataset", chosen: Any) -> Any:
    """Training images with a delta applied, uint8.

    Args:
        delta: for the dataset.
        dataset: the clean one.
        chosen: which images, as a numpy index.

    Raises:
        ValueError: the delta is for another dataset.
    """
    import torch

    from cptools.core.epsilon import parse_epsilon
    from cptools.core.poisons.budget import poison_uint8

    rows = torch.from_numpy(rows_of_images(delta, dataset, name="dataset")[chosen])
    images = torch.from_numpy(dataset.train_images[chosen])
    noise = torch.from_numpy(delta.delta)
    return poison_uint8(images, noise, rows, parse_epsilon(delta.epsilon)).numpy()
