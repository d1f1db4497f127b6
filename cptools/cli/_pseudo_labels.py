"""Pseudo-labels of images: clusters of the features of an encoder."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cptools.cli._app import UsageError
from cptools.cli._embedding import check_size
from cptools.cli._encoder import build_backbone

if TYPE_CHECKING:
    from torch import Tensor, device

    from cptools.artifacts.schema import Dataset, Encoder
    from cptools.artifacts.stream import Reader


def open_labels_from(alg: str, given: str | None) -> "Reader | None":
    """Open the encoder that `--labels-from` names, its header checked.

    Raises:
        UsageError: the learner takes no pseudo-labels.
        ArtifactError: it is no encoder.
    """
    from cptools.artifacts.stream import open_artifact
    from cptools.core.algorithms import ALGORITHMS

    if given is None:
        return None
    if not ALGORITHMS[alg].is_clustered:
        raise UsageError(f"--labels-from does not apply to --alg {alg}; leave it out")
    return open_artifact(given, expect=("encoder",))


def check_labels_from(alg: str, given: str | None) -> None:
    """Refuse to train a learner without the pseudo-labels that it needs."""
    from cptools.core.algorithms import ALGORITHMS

    if ALGORITHMS[alg].is_clustered and given is None:
        raise UsageError(
            f"--alg {alg} learns pseudo-labels, which need an encoder of the same images; make one"
            " with cp-pretrain INPUT -o ENCODER and give --labels-from ENCODER"
        )


def pseudo_labels(
    encoder: "Encoder",
    dataset: "Dataset",
    others: "Sequence[Tensor]",
    place: "device",
    *,
    seed: int,
    bf16: bool,
) -> "tuple[tuple[int, ...], list[Tensor]]":
    """Cluster the features of the training images at several resolutions.

    Args:
        encoder: whose features.
        dataset: whose training images.
        others: more images to label by the nearest clusters, uint8 [M, 3, H, W] each.
        place: where to encode, and where the labels go.
        seed: of the clustering.
        bf16: encode in bfloat16.

    Returns:
        The number of clusters of each labeling, L of them; labels int64 [N, L] of the training
        images and then [M, L] of each of the others.

    Raises:
        UsageError: the encoder is for images of another size, or its weights are not its own.
        ValueError: there are too few images.
    """
    import torch

    from cptools.core.evaluation.clusters import cluster, nearest
    from cptools.core.evaluation.probe import features

    try:
        check_size(encoder, dataset)
        network = build_backbone(encoder, place)
    except UsageError as error:
        raise UsageError(f"--labels-from: {error}") from None
    found = [
        features(network, images, mean=encoder.mean, std=encoder.std, bf16=bf16)
        for images in (torch.from_numpy(dataset.train_images), *others)
    ]
    centers = cluster(found[0], seed=seed)
    return tuple(map(len, centers)), [nearest(f, centers) for f in found]
