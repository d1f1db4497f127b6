"""What an attack takes for classes: those of the labels, or clusters of the images' features."""

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from cptools.core.poisons import ATTACKS  # noqa: TID253 - a registry, without torch
from cptools.workflows.assign import make_assigner, rows_by
from cptools.workflows.doors import check_labeled
from cptools.workflows.pretrain import pretrain
from cptools.workflows.progress import Progress

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from cptools.artifacts.schema import Assigner, Dataset, Delta, Encoder


class Groups(NamedTuple):
    """What the attack takes for classes.

    Attributes:
        labels: int64 [N], of the training images.
        num: of the classes or clusters.
        assigner: of clusters.
    """

    labels: "NDArray[Any]"
    num: int
    assigner: "Assigner | None" = None


def check_groups(
    dataset: "Dataset", told: dict[str, Any], init: "Delta | None", labels_from: "Encoder | None"
) -> None:
    """Refuse clusters that come from two places or from too few images, and labels that lack.

    Args:
        dataset: the images.
        told: settings of the attack.
        init: initial perturbation; one of clusters brings them along in mode `class`.
        labels_from: encoder of `clusters`.

    Raises:
        ValueError: they do not go together.
    """
    if "clusters" not in told:
        if told["mode"] == "sample" or init is None or init.assigner is None:
            _check_labels(dataset, told)
        if labels_from is not None:
            raise ValueError("`labels_from` needs `clusters`; give their number, or leave it out")
        return
    if init is not None:
        raise ValueError(
            "`clusters` does not apply to `init`, whose rows are of other groups; leave one out"
        )
    if told["clusters"] > len(dataset.train_images):
        raise ValueError(
            f"`clusters` {told['clusters']} are more than {len(dataset.train_images)} images; take"
            " fewer"
        )


def make_labeler(
    dataset: "Dataset",
    told: dict[str, Any],
    device: "torch.device",
    checkpoint: "str | os.PathLike[str] | None",
    progress: Progress,
) -> "Encoder":
    """An encoder of the images themselves, by SimCLR of the quick recipe: it knows no labels.

    Args:
        dataset: the images.
        told: settings of the attack, with its precision.
        device: where to train.
        checkpoint: of the attack; that of this training is beside it.
        progress: whether to show a progress bar.
    """
    return pretrain(
        dataset,
        "simclr",
        seed=told["seed"],
        device=device,
        precision=told["precision"],
        checkpoint=None if checkpoint is None else f"{os.fspath(checkpoint)}.encoder",
        progress=progress,
    )


def make_groups(
    dataset: "Dataset",
    told: dict[str, Any],
    device: "torch.device",
    init: "Delta | None",
    labels_from: "Encoder | None",
) -> Groups:
    """Clusters where there are any, else the classes of the dataset; see `check_groups`."""
    if labels_from is not None:
        assigner = make_assigner(
            labels_from, dataset, told["clusters"], seed=told["seed"], device=device
        )
    elif told["mode"] == "class" and init is not None and init.assigner is not None:
        assigner = init.assigner
    else:
        return Groups(dataset.train_labels, len(dataset.classes))
    rows = rows_by(assigner, dataset.train_images.shape[1:], device)(dataset.train_images)
    return Groups(rows, len(assigner.tensors["centers"]), assigner)


def _check_labels(dataset: "Dataset", told: dict[str, Any]) -> None:
    """Refuse images without labels, unless each gets noise of its own by a learner without any."""
    from cptools.core.algorithms import ALGORITHMS
    from cptools.core.lazy import load

    alg, modes = told["alg"], ATTACKS.find(told["alg"]).modes
    is_blind = alg in ALGORITHMS and not load(ALGORITHMS[alg].build).needs_classes
    if told["mode"] == "class":
        instead = " or `mode=sample`" if is_blind and "sample" in modes else ""
        check_labeled(dataset, "`mode=class`", f", or `clusters=10`{instead}")
    elif not is_blind:
        check_labeled(dataset, f"`alg={alg}`", ", or `alg=simclr`")
