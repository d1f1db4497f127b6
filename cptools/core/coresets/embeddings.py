"""Embeddings that are compared: of random views in expectation, or of the images themselves.

N images, B images a batch, d dimensions.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from cptools.core.algorithms.base import unit
from cptools.core.checks import check_images, check_whole, to_float
from cptools.core.evaluation.frozen import device_of, encode, frozen
from cptools.core.random import stream
from cptools.core.views import DrawsViews, normalize

Embed = Callable[[Tensor], Tensor]


def view_embeddings(
    network: nn.Module,
    embed: Embed,
    images: Tensor,
    views: DrawsViews,
    *,
    count: int = 8,
    seed: int = 0,
    batch_size: int = 500,
    bf16: bool = False,
) -> Tensor:
    """Mean of the unit embeddings of random views of each image.

    The views of two images are drawn apart, so that the inner product of their rows is an unbiased
    estimate of the similarity of their views in expectation, E <z_i, z_j> = <E z_i, E z_j>, each
    the mean of count^2 pairs of views. The inner product of a row with itself is not: it is too
    large by the variance of the views' embeddings over count.

    Args:
        network: what `embed` computes with; in eval mode meanwhile.
        embed: normalized views [B, 3, S, S] -> [B, d], of any length.
        images: uint8 [N, 3, H, W], N at least 1, on any device.
        views: how views are drawn.
        count: views of each image.
        seed: of the views.
        batch_size: images at a time; another one draws other views.
        bf16: compute the network in bfloat16.

    Returns:
        float32 [N, d] on the network's device, rows of length at most 1.
    """
    check_whole("count", count, 1)
    generator = stream(seed, "select", "views")

    def mean_of_views(x: Tensor) -> Tensor:
        drawn = (unit(encode(embed, views(x, generator), bf16=bf16)) for _ in range(count))
        return sum(drawn, torch.zeros((), device=x.device)) / count

    return _in_batches(network, mean_of_views, images, batch_size)


def image_embeddings(
    network: nn.Module,
    embed: Embed,
    images: Tensor,
    *,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    batch_size: int = 500,
    bf16: bool = False,
) -> Tensor:
    """Unit embeddings of the images themselves.

    Args:
        network: what `embed` computes with; in eval mode meanwhile.
        embed: normalized images [B, 3, H, W] -> [B, d], of any length.
        images: uint8 [N, 3, H, W], N at least 1, on any device.
        mean: mean of each channel in [0, 1].
        std: standard deviation of each channel.
        batch_size: images at a time.
        bf16: compute the network in bfloat16.

    Returns:
        float32 [N, d] on the network's device, rows of length 1.
    """
    return _in_batches(
        network,
        lambda x: unit(encode(embed, normalize(x, mean, std), bf16=bf16)),
        images,
        batch_size,
    )


def _in_batches(network: nn.Module, of: Embed, images: Tensor, batch_size: int) -> Tensor:
    check_images(images)
    check_whole("batch_size", batch_size, 1)
    device = device_of(network)
    with frozen(network):
        return torch.cat([of(to_float(x.to(device))) for x in images.split(batch_size)])
