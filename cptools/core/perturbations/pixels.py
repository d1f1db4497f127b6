"""Pixels on the scale 0 to 1, lengths in pixels, and linear maps of the rows and columns of images.

All of it is float64: where a sum may be ordered in another way (by a number of threads, or of
images at a time), its last bit differs, which must not change the 8 bits that come of it.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from cptools.core.views.color import GRAY

SIDE = 32  # of the images that the constants are made for


def unit(images: Tensor) -> float:
    """What one pixel of a 32-pixel image is in pixels of these: the shorter side over 32."""
    return min(images.shape[-2:]) / SIDE


def to_scale(images: Tensor) -> Tensor:
    """8 bits as float64 in [0, 1]."""
    return images.double().div_(255)


def to_bits(x: Tensor) -> Tensor:
    """Clamp to [0, 1] and round to 8 bits; halves go up, also if a sum falls a little short."""
    levels = (x * 255).add_(0.5 + 1e-6).floor_().clamp_(0, 255)
    return levels.to(torch.uint8)


def luma(x: Tensor) -> Tensor:
    """Gray as OpenCV and Pillow weigh it: [N, 3, H, W] to [N, 1, H, W]."""
    weights = torch.tensor(GRAY, dtype=x.dtype, device=x.device).view(3, 1, 1)
    return (x * weights).sum(1, keepdim=True)


def nearest(index: Tensor, length: int) -> Tensor:
    """Beyond the border the outermost pixel goes on: a a a | a b c d | d d d."""
    return index.clamp(0, length - 1)


def mirror(index: Tensor, length: int) -> Tensor:
    """Mirrored at the outermost pixel: c b | a b c d | c b (OpenCV's REFLECT_101)."""
    period = max(2 * length - 2, 1)
    index = index % period
    return torch.minimum(index, period - index)


def twin(index: Tensor, length: int) -> Tensor:
    """Mirrored beside the outermost pixel: b a | a b c d | d c (SciPy's reflect)."""
    index = index % (2 * length)
    return torch.minimum(index, 2 * length - 1 - index)


BORDERS = {"nearest": nearest, "mirror": mirror, "twin": twin}


def gaussian(sigma: float, radius: int) -> Tensor:
    """A Gaussian on the integers -radius to radius, of sum 1: float64 [2 radius + 1]."""
    place = torch.arange(-radius, radius + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (place / sigma).square())
    return weights / weights.sum()


def smooth(x: Tensor, sigma: float, *, reach: float = 4, border: str = "nearest") -> Tensor:
    """Gaussian smoothing as SciPy's gaussian_filter does it.

    Args:
        x: float64 [..., H, W].
        sigma: standard deviation in pixels, at least 0.
        reach: where the kernel is cut off, in standard deviations.
        border: a key of BORDERS.
    """
    radius = int(reach * sigma + 0.5)
    if radius == 0:
        return x
    taps = gaussian(sigma, radius)

    def matrix(length: int) -> Tensor:
        places = torch.arange(length)[:, None] + torch.arange(-radius, radius + 1)
        sources = BORDERS[border](places, length)
        empty = torch.zeros(length, length, dtype=torch.float64)
        return empty.scatter_add_(1, sources, taps.expand(length, -1))

    return apply_maps(x, matrix(x.shape[-2]), matrix(x.shape[-1]))


def smooth_noise(
    noise: Tensor, sigma: float, size: float, *, reach: float = 4, border: str = "nearest"
) -> Tensor:
    """Smooth white noise by `sigma` pixels of a 32-pixel image.

    The more pixels a kernel covers, the less is left of white noise. What is left at 32 pixels is
    what the constants are made for; it is kept at every size.

    Args:
        noise: float64 [N, H, W], mean 0.
        sigma: standard deviation at 32 pixels.
        size: `unit` of the images.
        reach: as of `smooth`.
        border: as of `smooth`.
    """

    def gain(sigma: float) -> float:
        """Standard deviation that smoothing leaves of white noise."""
        radius = int(reach * sigma + 0.5)
        return float(gaussian(sigma, radius).square().sum()) if radius else 1.0

    smoothed = smooth(noise, sigma * size, reach=reach, border=border)
    return smoothed * (gain(sigma) / gain(sigma * size))


def apply_maps(x: Tensor, down: Tensor, along: Tensor) -> Tensor:
    """Map the columns of images by one matrix and their rows by another.

    Args:
        x: float64 [..., H, W].
        down: float64 [h, H], on any device.
        along: float64 [w, W].

    Returns:
        float64 [..., h, w].
    """
    return down.to(x.device) @ x @ along.to(x.device).mT


def clipped_zoom(x: Tensor, factor: float) -> Tensor:
    """Enlarge the middle of images as the scripts' clipped_zoom does, by SciPy's linear zoom.

    The middle is cut out in whole pixels and stretched so that its outermost pixels stay
    outermost: at 32 pixels 1.01 changes nothing, and most factors shift the image a little.

    Args:
        x: float64 [..., H, W].
        factor: at least 1.
    """

    def matrix(length: int) -> Tensor:
        cut = math.ceil(length / factor)
        start = (length - cut) // 2
        stretched = round(cut * factor)
        step = (cut - 1) / max(stretched - 1, 1)
        out = torch.arange(length, dtype=torch.float64) + (stretched - length) // 2
        return tent(start + out * step, length)

    return apply_maps(x, matrix(x.shape[-2]), matrix(x.shape[-1]))


def tent(places: Tensor, length: int) -> Tensor:
    """The matrix that interpolates linearly at places in [0, length - 1]: [n] to [n, length]."""
    pixels = torch.arange(length, dtype=torch.float64)
    return (1 - (places.unsqueeze(1) - pixels).abs()).clamp_(min=0)


def sample(x: Tensor, places: tuple[Tensor, Tensor], border: str) -> Tensor:
    """Interpolate images bilinearly.

    Args:
        x: float64 [N, C, H, W].
        places: columns and rows to look at, the center of the first pixel being 0: float64, each
            [H, W] for all images or [N, H, W].
        border: "black", or a key of BORDERS.

    Returns:
        float64 [N, C, H, W].
    """
    num, _, height, width = x.shape
    columns, rows = places
    corners = border == "mirror"  # -1 and 1 of the grid are centers, not edges, of the outer pixels
    if corners:
        scaled = (2 * columns / max(width - 1, 1) - 1, 2 * rows / max(height - 1, 1) - 1)
    else:
        scaled = ((2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1)
    grid = torch.stack(scaled, dim=-1).to(x.device).expand(num, height, width, 2)
    modes = {"black": "zeros", "nearest": "border", "mirror": "reflection", "twin": "reflection"}
    return grid_sample(x, grid, padding_mode=modes[border], align_corners=corners)
