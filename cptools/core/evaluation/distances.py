"""How far apart two views of an image are for an encoder: CP figures 4d and 8.

A poison against contrastive learning shortcuts the alignment of two views: on poisoned images the
encoder that was trained on them puts both views in one place, while views of clean images stay
apart (He, Zha and Katabi, ICLR 2023, section 5.5 and appendix C.2).

N images, B images a batch, D features.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cptools.core.algorithms.base import unit
from cptools.core.checks import check_images, check_whole, to_float
from cptools.core.evaluation.frozen import device_of, encode, frozen
from cptools.core.random import stream
from cptools.core.views import Views

BINS = 100
MOST = 2.0  # the cosine distance of opposite vectors
CLOSE = 0.1


@dataclass(frozen=True)
class Distances:
    """The distribution of N distances in [0, 2].

    Attributes:
        counts: Images in each of `BINS` bins of equal width over [0, 2].
        mean: Of the distances.
        median: The value in the middle, or the mean of the two in the middle.
        close: Images whose distance is below `CLOSE`.
    """

    counts: tuple[int, ...]
    mean: float
    median: float
    close: int

    @classmethod
    def of(cls, distances: Tensor) -> "Distances":
        """Sum up distances: float [N] in [0, 2], N at least 1."""
        values = distances.double()
        bins = (values * (BINS / MOST)).long().clamp(max=BINS - 1)
        return cls(
            counts=tuple(torch.bincount(bins, minlength=BINS).tolist()),
            mean=float(values.mean()),
            median=float(values.quantile(0.5)),
            close=int((values < CLOSE).sum()),
        )


def view_distances(
    network: nn.Module,
    embed: Callable[[Tensor], Tensor],
    images: Tensor,
    views: Views,
    *,
    seed: int = 0,
    batch_size: int = 500,
    bf16: bool = False,
) -> Tensor:
    """Cosine distance between the embeddings of two random views of each image.

    Args:
        network: What `embed` computes with; in eval mode meanwhile.
        embed: Normalized views [B, 3, S, S] -> [B, D], of any length.
        images: uint8 [N, 3, H, W], on any device.
        views: How views are drawn.
        seed: Of the views.
        batch_size: Images at a time; another one draws other views.
        bf16: Compute the network in bfloat16.

    Returns:
        float32 [N] in [0, 2] on the network's device: 1 - cos, as half the squared distance of the
        unit vectors, which is 0 where both are equal. A zero vector stays zero.

    Raises:
        ValueError: There are no images.
    """
    if not len(images):
        raise ValueError("there are no images to draw views of")
    check_images(images)
    check_whole("batch_size", batch_size, 1)
    device, generator = device_of(network), stream(seed, "distances")
    parts = []
    with frozen(network):
        for start in range(0, len(images), batch_size):
            x = to_float(images[start : start + batch_size].to(device))
            z = unit(encode(embed, views(torch.cat([x, x]), generator, 2), bf16=bf16))
            z_a, z_b = z.chunk(2)
            parts.append((z_a - z_b).square().sum(1) / 2)
    return torch.cat(parts).clamp(max=MOST)
