"""Snow, frost and fog."""

import torch
from torch import Tensor

from cptools.core.perturbations.blur import trail
from cptools.core.perturbations.draws import Draws
from cptools.core.perturbations.pixels import clipped_zoom, luma, to_bits, to_scale, unit


def snow(
    images: Tensor,
    *,
    mean: float,
    std: float,
    zoom: float,
    least: float,
    radius: float,
    sigma: float,
    keep: float,
    low: float,
    high: float,
    draws: Draws,
) -> Tensor:
    """Whiten the image, and let flakes fall across it, and across it upside down.

    CIFAR-10-C `snow`, where the angle is random, CIFAR-10-P "Snow", where it turns.

    Args:
        images: uint8 [N, 3, H, W].
        mean: Of the Gaussian noise that the flakes are made of.
        std: Its standard deviation.
        zoom: Its enlargement at 32 pixels.
        least: Darker noise is no flake.
        radius: Half the length of a flake's trail in pixels at 32.
        sigma: Standard deviation of its fading, likewise.
        keep: Share of the image that is not whitened.
        low: Least angle of the trails in degrees.
        high: Greatest angle.
        draws: Of the images.
    """
    x = to_scale(images)
    size = unit(images)
    flakes = draws.normal(1, *images.shape[2:]).mul_(std).add_(mean)
    flakes = clipped_zoom(flakes, max(zoom * size, 1.0)).clamp_(max=1)
    flakes = flakes * (flakes >= least)
    flakes = trail(flakes, radius * size, sigma * size, draws.between(low, high))
    whitened = torch.maximum(x, luma(x) * 1.5 + 0.5)
    return to_bits(keep * x + (1 - keep) * whitened + flakes + flakes.flip(2, 3))


def fog(images: Tensor, *, thickness: float, decay: float, draws: Draws) -> Tensor:
    """Add a fractal cloud, then darken the whole so that its brightest stays below white.

    CIFAR-10-C `fog`: (x + thickness cloud) max(x) / (max(x) + thickness).

    Args:
        images: uint8 [N, 3, H, W].
        thickness: Of the cloud where it is thickest.
        decay: How much weaker each finer octave of the cloud is, squared.
        draws: Of the images.
    """
    x = to_scale(images)
    brightest = x.amax((1, 2, 3), keepdim=True)
    cloud = _cloud(*images.shape[2:], decay=decay, draws=draws).unsqueeze(1)
    return to_bits((x + thickness * cloud) * brightest / (brightest + thickness))


def frost(images: Tensor, *, keep: float, ice: float, draws: Draws) -> Tensor:
    """Look through a frozen window: keep x + ice frost.

    CIFAR-10-C `frost`, but for the frost. The script cuts it out of photographs; here it is made by
    code: white ridges of a fractal cloud, where it crosses its own middle, on pale blue.

    Args:
        images: uint8 [N, 3, H, W].
        keep: Share of the image's light that passes.
        ice: Brightness of the frost.
        draws: Of the images.
    """
    cloud = _cloud(*images.shape[2:], decay=1.5, draws=draws).unsqueeze(1)
    ridge = (1 - (2 * cloud - 1).abs()).square()
    ground = torch.tensor([0.35, 0.45, 0.55], dtype=ridge.dtype, device=ridge.device)
    frozen = ridge + (1 - ridge) * ground.view(3, 1, 1)
    return to_bits(keep * to_scale(images) + ice * frozen)


def _cloud(height: int, width: int, *, decay: float, draws: Draws) -> Tensor:
    """A plasma fractal by the diamond-square algorithm, on a torus: float64 [N, H, W] in [0, 1].

    The script's `plasma_fractal`, in which an octave's noise is its amplitude squared, and the next
    octave's amplitude is `decay` times smaller. Its side is the next power of two, and the rest is
    cut off.
    """
    side = max(1 << (max(height, width) - 1).bit_length(), 2)
    cloud = draws.uniform(side, side).mul_(2).sub_(1)  # each point's noise, where it is due
    cloud[:, 0, 0] = 0
    step, amplitude = side, 100.0
    while step >= 2:
        half, strength = step // 2, amplitude**2
        corners = cloud[:, ::step, ::step]
        middles = cloud[:, half::step, half::step]
        sides = corners + corners.roll(-1, 1)
        middles.mul_(strength).add_(sides + sides.roll(-1, 2), alpha=0.25)
        tops = cloud[:, ::step, half::step]
        above_and_below = middles + middles.roll(1, 1)
        tops.mul_(strength).add_(above_and_below + corners + corners.roll(-1, 2), alpha=0.25)
        lefts = cloud[:, half::step, ::step]
        beside = middles + middles.roll(1, 2)
        lefts.mul_(strength).add_(beside + corners + corners.roll(-1, 1), alpha=0.25)
        step, amplitude = half, amplitude / decay
    low, high = cloud.amin((1, 2), keepdim=True), cloud.amax((1, 2), keepdim=True)
    return ((cloud - low) / (high - low))[:, :height, :width]
