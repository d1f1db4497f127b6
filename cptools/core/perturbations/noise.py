"""Noise of cameras: Gaussian, of photons, in proportion, and of dead pixels."""

from functools import cache

import torch
from torch import Tensor

from cptools.core.perturbations.draws import Draws
from cptools.core.perturbations.pixels import to_bits, to_scale


def gaussian_noise(images: Tensor, *, sigma: float, draws: Draws) -> Tensor:
    """Add white noise: x + sigma n.

    CIFAR-10-C `gaussian_noise`, CIFAR-10-P "Gaussian Noise".

    Args:
        images: uint8 [N, 3, H, W].
        sigma: Standard deviation on the scale 0 to 1.
        draws: Of the images.
    """
    return to_bits(draws.normal(*images.shape[1:]).mul_(sigma).add_(to_scale(images)))


def speckle_noise(images: Tensor, *, sigma: float, draws: Draws) -> Tensor:
    """Add noise in proportion: x + sigma x n.

    CIFAR-10-C `speckle_noise`, CIFAR-10-P "Speckle Noise".

    Args:
        images: uint8 [N, 3, H, W].
        sigma: Standard deviation, as a share of the value.
        draws: Of the images.
    """
    return to_bits(draws.normal(*images.shape[1:]).mul_(sigma).add_(1).mul_(to_scale(images)))


def shot_noise(images: Tensor, *, photons: float, draws: Draws) -> Tensor:
    """Count photons: Poisson(photons x) / photons.

    CIFAR-10-C `shot_noise`, CIFAR-10-P "Shot Noise".

    Args:
        images: uint8 [N, 3, H, W].
        photons: That make white, on average.
        draws: Of the images.
    """
    table = _poisson_table(photons).to(images.device)
    uniform = draws.uniform(*images.shape[1:]).add_(images)
    counts = torch.searchsorted(table.flatten(), uniform, right=True)
    counts -= images.long() * table.shape[1]
    counts.clamp_(max=table.shape[1] - 1)  # a table may end some 1e-13 below value + 1
    levels = to_bits(torch.arange(table.shape[1]) / photons)  # on the CPU: halves round alike
    return levels.to(images.device)[counts]


@cache
def _poisson_table(photons: float) -> Tensor:
    """Where the counts of each value begin: value + P(count <= k), float64 [256, K], ascending.

    The number of entries up to value + u, u uniform, is a count drawn by inversion, and the counts
    of all values before.
    """
    value = torch.arange(256, dtype=torch.float64).unsqueeze(1)
    rate = value / 255 * photons
    count = torch.arange(photons + 12 * photons**0.5 + 12, dtype=torch.float64)
    log_probability = torch.xlogy(count, rate) - rate - torch.lgamma(count + 1)
    return value + log_probability.exp().cumsum(1).clamp_(max=1)


def impulse_noise(images: Tensor, *, amount: float, draws: Draws) -> Tensor:
    """Turn entries white or black, with equal chances.

    CIFAR-10-C `impulse_noise`: scikit-image's "s&p", which takes each channel apart.

    Args:
        images: uint8 [N, 3, H, W].
        amount: Probability that an entry is changed.
        draws: Of the images.
    """
    uniform = draws.uniform(*images.shape[1:])
    salted = images.masked_fill(uniform < amount, 255)
    return salted.masked_fill_(uniform < amount / 2, 0)
