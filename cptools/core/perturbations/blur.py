"""Blurs: of optics, of frosted glass, of a moving and of a zooming camera."""

import math

import torch
from torch import Tensor

from cptools.core.perturbations.draws import Draws
from cptools.core.perturbations.geometry import scale_about_middle
from cptools.core.perturbations.pixels import (
    clipped_zoom,
    gaussian,
    mirror,
    nearest,
    smooth,
    to_bits,
    to_scale,
    unit,
)


def gaussian_blur(images: Tensor, *, sigma: float, reach: float) -> Tensor:
    """Smooth by a Gaussian.

    CIFAR-10-C `gaussian_blur`, CIFAR-10-P "Gaussian Blur": scikit-image's `gaussian`.

    Args:
        images: uint8 [N, 3, H, W].
        sigma: Standard deviation in pixels at 32.
        reach: Where the kernel is cut off, in standard deviations.
    """
    return to_bits(smooth(to_scale(images), sigma * unit(images), reach=reach))


def defocus_blur(images: Tensor, *, radius: float, sigma: float) -> Tensor:
    """Blur by a disk whose edge is smoothed.

    CIFAR-10-C `defocus_blur`. The disk is made of whole pixels and smoothed by a Gaussian of 3 x 3
    taps: with a radius below 1, which is one pixel, the Gaussian is all there is.

    Args:
        images: uint8 [N, 3, H, W].
        radius: Of the disk in pixels at 32.
        sigma: Standard deviation of the Gaussian in pixels at 32.
    """
    size = unit(images)
    kernel = _soft_disk(radius * size, sigma * size, max(round(size), 1))
    reach = len(kernel) // 2
    _, _, height, width = images.shape
    rows = mirror(torch.arange(-reach, height + reach, device=images.device), height)
    columns = mirror(torch.arange(-reach, width + reach, device=images.device), width)
    padded = to_scale(images)[:, :, rows[:, None], columns]
    blurred = torch.zeros_like(images, dtype=torch.float64)
    for i, j in kernel.nonzero().tolist():
        blurred += kernel[i, j].item() * padded[:, :, i : i + height, j : j + width]
    return to_bits(blurred)


def _soft_disk(radius: float, sigma: float, taps: int) -> Tensor:
    """A disk smoothed by a Gaussian that reaches `taps` pixels: float64 [K, K], K odd, sum 1."""
    reach = int(radius)
    place = torch.arange(-reach, reach + 1)
    disk = ((place.square() + place.square().unsqueeze(1)) <= radius**2).double()
    soft = gaussian(sigma, taps)
    padded = torch.nn.functional.pad(disk / disk.sum(), [2 * taps] * 4)
    rows = padded.unfold(0, 2 * taps + 1, 1) @ soft
    return rows.unfold(1, 2 * taps + 1, 1) @ soft


def glass_blur(images: Tensor, *, sigma: float, delta: float, times: float, draws: Draws) -> Tensor:
    """Smooth, let every pixel take the place of a neighbor, smooth again.

    CIFAR-10-C `glass_blur`. The script means to swap each pixel with one up to `delta` up and left
    of it (numpy's integers stop short of the other side); as both sides of its assignment are views
    of one array, it copies that pixel, and as it works upwards and to the left, from where nothing
    was changed yet. So all pixels are copied at once here. Those at the border stay.

    Args:
        images: uint8 [N, 3, H, W].
        sigma: Standard deviation of both smoothings in pixels at 32.
        delta: How far pixels come from, in pixels at 32.
        times: How often they are taken.
        draws: Of the images.
    """
    num, _, height, width = images.shape
    far = max(round(delta * unit(images)), 1)
    x = smooth(to_scale(images), sigma * unit(images))
    rows = torch.arange(height, device=images.device).unsqueeze(1)
    columns = torch.arange(width, device=images.device)
    inside = (rows > far) & (rows <= height - far) & (columns > far) & (columns <= width - far)
    for _ in range(int(times)):
        down, along = draws.integers(-far, far, 2, height, width).mul_(inside).unbind(1)
        source = (rows + down) * width + columns + along
        taken = source.view(num, 1, -1).expand(-1, x.shape[1], -1)
        x = x.flatten(2).gather(2, taken).view_as(x)
    return to_bits(smooth(x, sigma * unit(images)))


def motion_blur(
    images: Tensor, *, radius: float, sigma: float, low: float, high: float, draws: Draws
) -> Tensor:
    """Leave a trail to one side.

    CIFAR-10-C `motion_blur`, where the angle is random, CIFAR-10-P "Motion Blur", where it turns.

    Args:
        images: uint8 [N, 3, H, W].
        radius: Half the length of the trail in pixels at 32.
        sigma: Standard deviation of its fading, likewise.
        low: Least angle in degrees.
        high: Greatest angle.
        draws: Of the images.
    """
    size = unit(images)
    return to_bits(trail(to_scale(images), radius * size, sigma * size, draws.between(low, high)))


def trail(x: Tensor, radius: float, sigma: float, angle: Tensor) -> Tensor:
    """ImageMagick's motion blur (MotionBlurImage of MagickCore/effect.c).

    The mean of 2 ceil(radius) + 1 pixels in a line from the pixel itself onwards, each the nearest
    one, with half a Gaussian as weights.

    Args:
        x: float64 [N, C, H, W].
        radius: Half the length of the line in pixels, above 0.
        sigma: Standard deviation in pixels.
        angle: Of each line in degrees, from right to down, float64 [N].
    """
    num, channels, height, width = x.shape
    taps = 2 * math.ceil(radius) + 1
    half = gaussian(sigma, taps - 1)[taps - 1 :]
    weights: list[float] = (half / half.sum()).tolist()
    radians = angle * math.pi / 180
    down, along = taps * radians.sin(), taps * radians.cos()
    length = torch.hypot(down, along)
    rows = torch.arange(height, device=x.device)
    columns = torch.arange(width, device=x.device)
    result = torch.zeros_like(x)
    for k, weight in enumerate(weights):
        row = nearest(rows + (k * down / length - 0.5).ceil().long().unsqueeze(1), height)
        column = nearest(columns + (k * along / length - 0.5).ceil().long().unsqueeze(1), width)
        source = row.unsqueeze(2) * width + column.unsqueeze(1)
        taken = x.flatten(2).gather(2, source.view(num, 1, -1).expand(-1, channels, -1))
        result.add_(taken.view_as(x), alpha=weight)
    return result


def zoom_blur(images: Tensor, *, steps: float, step: float) -> Tensor:
    """The mean of the image, itself again, and its enlargements by 1 + step, 1 + 2 step, ...

    CIFAR-10-C `zoom_blur`. Its factors are made by numpy's arange, whose rounding decides that the
    ends 1.06 and 1.11 belong to them and 1.16, 1.21 and 1.26 do not, and how pixels fall at 1.25.

    Args:
        images: uint8 [N, 3, H, W].
        steps: Number of enlargements.
        step: From each to the next.
    """
    x = to_scale(images)
    total = 2 * x
    rounded = (1 + step) - 1
    for k in range(1, int(steps) + 1):
        total += clipped_zoom(x, 1 + k * rounded)
    return to_bits(total / (steps + 2))


def zoom_film(images: Tensor, *, steps: float, step: float) -> Tensor:
    """The mean of the image and its enlargements by 1 + step, 1 + 2 step, ... about its middle.

    CIFAR-10-P "Zoom Blur".

    Args:
        images: uint8 [N, 3, H, W].
        steps: Number of enlargements: the frame.
        step: From each to the next.
    """
    x = to_scale(images)
    total = x.clone()
    for k in range(1, int(steps) + 1):
        total += scale_about_middle(x, 1 + k * step)
    return to_bits(total / (steps + 1))
