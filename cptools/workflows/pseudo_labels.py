"""Pseudo-labels of images: clusters of the features of an encoder (AdvCL)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cptools.workflows.doors import naming
from cptools.workflows.encoders import build_backbone, check_size

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from cptools.artifacts.schema import Dataset, Encoder


def check_labels_from(alg: str, *, is_given: bool) -> None:
    """Check that an encoder for pseudo-labels is given if and only if the algorithm uses one.

    Raises:
        ValueError: it is missing, or not used.
    """
    from cptools.core.algorithms import ALGORITHMS

    with naming("alg"):
        is_clustered = ALGORITHMS.find(alg).is_clustered
    if is_given and not is_clustered:
        raise ValueError(f"`labels_from` does not apply to `alg={alg}`; leave it out")
    if not is_given and is_clustered:
        raise ValueError(
            f"`alg={alg}` uses pseudo-labels, which need an encoder of the same images; train one"
            " with `cp.pretrain` and give it as `labels_from`"
        )


def pseudo_labels(
    encoder: "Encoder",
    dataset: "Dataset",
    others: "Sequence[Tensor]",
    device: "torch.device",
    *,
    seed: int,
    bf16: bool,
) -> "tuple[tuple[int, ...], list[Tensor]]":
    """Cluster the features of the training images at several resolutions.

    Args:
        encoder: whose features.
        dataset: whose training images.
        others: more images to label by the nearest clusters, uint8 [M, 3, H, W] each.
        device: for encoding, and of the labels.
        seed: of the clustering.
        bf16: encode in bfloat16.

    Returns:
        The number of clusters of each labeling, L of them; labels int64 [N, L] of the training
        images and then [M, L] of each of the others.

    Raises:
        ValueError: the encoder is for images of another size, its weights are not its own, or
            there are too few images.
    """
    import torch

    from cptools.core.evaluation.clusters import cluster, nearest
    from cptools.core.evaluation.probe import features

    with naming("labels_from"):
        check_size(encoder, dataset)
        network = build_backbone(encoder, device)
    found = [
        features(network, images, mean=encoder.mean, std=encoder.std, bf16=bf16)
        for images in (torch.from_numpy(dataset.train_images), *others)
    ]
    centers = cluster(found[0], seed=seed)
    return tuple(map(len, centers)), [nearest(f, centers) for f in found]
