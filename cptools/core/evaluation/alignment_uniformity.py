"""Alignment and uniformity: the two halves of the contrastive loss, measured on the sphere.

Source: Wang and Isola, Understanding contrastive representation learning through alignment and
uniformity on the hypersphere, ICML 2020. N images, D features; rows are normalized here. Both are
differentiable and computed in float32 or wider, without autocast.
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize

_BLOCK = 1024  # rows compared at a time


def alignment(z_a: Tensor, z_b: Tensor) -> Tensor:
    """Return the mean of ||a - b||^2 over positive pairs.

    Args:
        z_a: Features [N, D] of one view of each image.
        z_b: Features [N, D] of the other view of the same images.

    Returns:
        A scalar in [0, 4]; 0 where both views have the same direction, 2 for unrelated ones.

    Raises:
        ValueError: The shapes differ, or there is no pair.
    """
    if z_a.shape != z_b.shape or z_a.ndim != 2 or not len(z_a):
        raise ValueError(
            "expected two views [N, D] of the same N >= 1 images, "
            f"got {list(z_a.shape)} and {list(z_b.shape)}"
        )
    return (_unit(z_a) - _unit(z_b)).square().sum(1).mean()


def uniformity(z: Tensor, t: float = 2.0) -> Tensor:
    """Return log of the mean of exp(-t ||z_i - z_j||^2) over the pairs i < j.

    Args:
        z: Features [N, D], N >= 2.
        t: Sharpness of the Gaussian potential; the source uses 2.

    Returns:
        A scalar in [-4 t, 0]; 0 where all features are one point, lower is more uniform.

    Raises:
        ValueError: There is no pair.
    """
    if z.ndim != 2 or len(z) < 2:
        raise ValueError(f"expected features [N, D] of at least two images, got {list(z.shape)}")
    with torch.autocast(z.device.type, enabled=False):
        unit = _unit(z)
        # A zero vector stays zero, so that squared lengths are not always 1.
        lengths = unit.square().sum(1)
        sums = []
        for start in range(0, len(unit) - 1, _BLOCK):
            rows, later = slice(start, start + _BLOCK), slice(start, None)
            products = unit[rows] @ unit[later].T
            distances = lengths[rows, None] + lengths[None, later] - 2 * products
            # Row r of the block is row r of `later`: pairs i < j are above the diagonal.
            lower = torch.ones_like(distances, dtype=torch.bool).tril_()
            potential = (-t * distances.clamp(min=0)).masked_fill(lower, -torch.inf)
            sums.append(potential.flatten().logsumexp(0))
        pairs = len(unit) * (len(unit) - 1) / 2
        return torch.stack(sums).logsumexp(0) - torch.tensor(pairs, dtype=torch.float64).log().to(
            unit.device, unit.dtype
        )


def _unit(z: Tensor) -> Tensor:
    return normalize(z if z.dtype == torch.float64 else z.float(), dim=1)
