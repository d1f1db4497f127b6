"""Rows of a class-wise delta for images that nobody labeled: the nearest of its centers."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cptools.workflows.doors import naming, used_device
from cptools.workflows.encoders import build_backbone, check_size

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from cptools.artifacts.schema import Assigner, Dataset, Delta, Encoder

    Assign = Callable[[NDArray[Any]], NDArray[Any]]


def make_assigner(
    encoder: "Encoder",
    dataset: "Dataset",
    clusters: int,
    *,
    seed: int,
    device: "str | torch.device" = "cpu",
) -> "Assigner":
    """Cluster the features of the training images; labels are not looked at.

    Args:
        encoder: whose features; the assigner carries its backbone.
        dataset: whose training images.
        clusters: K of k-means.
        seed: of the clustering.
        device: where the encoder computes, in float32.

    Raises:
        ValueError: the encoder is for images of another size, its weights are not its own, or
            there are more clusters than images.
    """
    import torch

    from cptools.artifacts.schema import Assigner
    from cptools.core.evaluation.clusters import k_means
    from cptools.core.evaluation.probe import features
    from cptools.core.random import stream

    with naming("labels_from"):
        check_size(encoder, dataset)
        network = build_backbone(encoder, used_device(device))
    images = torch.from_numpy(dataset.train_images)
    found = features(network, images, mean=encoder.mean, std=encoder.std)
    with naming("clusters"):
        centers = k_means(found, clusters, stream(seed, "clusters", clusters))
    backbone = {n: w for n, w in encoder.tensors.items() if n.startswith("backbone.")}
    return Assigner(
        {**backbone, "centers": centers.numpy()},
        architecture=encoder.architecture,
        width=encoder.width,
        mean=encoder.mean,
        std=encoder.std,
    )


def assigning(delta: "Delta", device: "str | torch.device" = "cpu") -> "Assign":
    """The function that finds the row of a delta for each image, for use again and again.

    Args:
        delta: with an assigner.
        device: where its encoder computes, in float32: auto, cpu, cuda or cuda:N.

    Returns:
        From uint8 [N, 3, S, S], of the delta's size S, to int64 [N].

    Raises:
        ValueError: the delta has no assigner, or its weights are not of the architecture it names.
    """
    if delta.assigner is None:
        raise ValueError(
            "`delta` has nothing that assigns images to its rows; make one with `clusters` of"
            " cp.generate"
        )
    with naming("delta"):
        return rows_by(delta.assigner, delta.delta.shape[1:], device)


def rows_by(
    assigner: "Assigner", shape: tuple[int, ...], device: "str | torch.device" = "cpu"
) -> "Assign":
    """The function that finds the number of the nearest center for each image; see `assigning`.

    Args:
        assigner: of a delta.
        shape: of the images, (3, S, S).
        device: where its encoder computes, in float32.

    Raises:
        ValueError: its weights are not of the architecture it names.
    """
    import torch

    from cptools.artifacts.schema import Encoder
    from cptools.core.evaluation.clusters import nearest
    from cptools.core.evaluation.probe import features

    tensors = dict(assigner.tensors)
    centers = torch.from_numpy(tensors.pop("centers"))
    mean, std = assigner.mean, assigner.std
    encoder = Encoder(
        tensors,
        architecture=assigner.architecture,
        width=assigner.width,
        feature_dim=centers.shape[1],
        algorithm="",
        input_size=shape[-1],
        mean=mean,
        std=std,
        source=None,
    )
    network = build_backbone(encoder, used_device(device))
    if network.feature_dim != centers.shape[1]:
        raise ValueError(
            f"its centers have {centers.shape[1]} features, its encoder {network.feature_dim};"
            " make the file again"
        )

    def rows(images: "NDArray[Any]") -> "NDArray[Any]":
        if images.shape[1:] != shape:
            raise ValueError(
                f"the delta is of {'x'.join(map(str, shape[1:]))} pixels, the images"
                f" are of {'x'.join(map(str, images.shape[2:]))}; give images of its size"
            )
        found = features(network, torch.from_numpy(images), mean=mean, std=std)
        assigned: NDArray[Any] = nearest(found, [centers])[:, 0].cpu().numpy()
        return assigned

    return rows


def assign_rows(delta: "Delta", images: "NDArray[Any]") -> "NDArray[Any]":
    """Row of a delta for each image, by the delta's own assigner.

    Args:
        delta: with an assigner.
        images: uint8 [N, 3, S, S], of the delta's size S.

    Returns:
        int64 [N]: the number of the nearest center of each image's features.

    Raises:
        ValueError: the delta has no assigner, or is of another size.
    """
    return assigning(delta)(images)
