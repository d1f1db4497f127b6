"""Rows of a class-wise delta for images that nobody labeled: the nearest of its centers."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cptools.workflows.doors import naming, used_device
from cptools.workflows.encoders import build_backbone

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from cptools.artifacts.schema import Delta


def assigning(
    delta: "Delta", device: "str | torch.device" = "cpu"
) -> "Callable[[NDArray[Any]], NDArray[Any]]":
    """The function that finds the row of a delta for each image, for use again and again.

    Args:
        delta: with an assigner.
        device: where its encoder computes, in float32: auto, cpu, cuda or cuda:N.

    Returns:
        From uint8 [N, 3, S, S], of the delta's size S, to int64 [N].

    Raises:
        ValueError: the delta has no assigner, or its weights are not of the architecture it names.
    """
    import torch

    from cptools.artifacts.schema import Encoder
    from cptools.core.evaluation.clusters import nearest
    from cptools.core.evaluation.probe import features

    assigner = delta.assigner
    if assigner is None:
        raise ValueError(
            "`delta` has nothing that assigns images to its rows; make one with `clusters` of"
            " cp.generate"
        )
    tensors = dict(assigner.tensors)
    centers = torch.from_numpy(tensors.pop("centers"))
    size, mean, std = delta.delta.shape[-1], assigner.mean, assigner.std
    encoder = Encoder(
        tensors,
        architecture=assigner.architecture,
        width=assigner.width,
        feature_dim=centers.shape[1],
        algorithm="",
        input_size=size,
        mean=mean,
        std=std,
        source=None,
    )
    with naming("delta"):
        network = build_backbone(encoder, used_device(device))
        if network.feature_dim != centers.shape[1]:
            raise ValueError(
                f"its centers have {centers.shape[1]} features, its encoder {network.feature_dim};"
                " make the file again"
            )

    def rows(images: "NDArray[Any]") -> "NDArray[Any]":
        if images.shape[1:] != delta.delta.shape[1:]:
            raise ValueError(
                f"the delta is of {'x'.join(map(str, delta.delta.shape[2:]))} pixels, the images"
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
