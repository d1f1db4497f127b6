"""Pictures to perturb, and slow readings that several tests share."""

import math

import numpy as np
import torch
from numpy.typing import NDArray

from cptools.core.perturbations.draws import Draws

Floats = NDArray[np.float64]


def scenes(num: int = 4, height: int = 32, width: int = 32) -> torch.Tensor:
    """uint8 [num, 3, height, width]: smooth colors, hard edges, gray and black, no two alike."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    pictures = np.empty((num, 3, height, width))
    for n in range(num):
        for c in range(3):
            pictures[n, c] = 0.5 + 0.4 * np.sin((1 + n % 3) * x + 1.5 * (c + 1) * y + n + 2 * c)
        disk = (x - 0.3) ** 2 + (y - 0.2 - 0.1 * n) ** 2 < 0.05
        pictures[n][:, disk] = 0.2 * n / num + 0.1 * np.array([[1], [n % 2], [0]])
        pictures[n, :, (5 + n) * height // 10 :, : (3 + 2 * n) * width // 32] = 0.6
        pictures[n, :, : (5 + n) * height // 32, (16 + n) * width // 32 :] = 0
    return torch.from_numpy(np.round(255 * pictures).clip(0, 255).astype(np.uint8))


def draws(num: int, seed: int = 3) -> Draws:
    return Draws.of(torch.arange(num), seed, "test")


def channels_last(images: torch.Tensor) -> NDArray[np.uint8]:
    return images.numpy().transpose(0, 2, 3, 1)


def far_off(images: torch.Tensor, expected: Floats | NDArray[np.uint8]) -> float:
    """Greatest difference from values 0 to 255, [N, H, W, 3], clamped as 8 bits are."""
    return float(np.abs(channels_last(images) - np.clip(expected.astype(float), 0, 255)).max())


def slow_trail(x: Floats, radius: float, sigma: float, angle: float) -> Floats:
    """ImageMagick's motion blur of [H, W, C], pixel by pixel."""
    height, width, _ = x.shape
    taps = 2 * math.ceil(radius) + 1
    weights = [math.exp(-(k**2) / (2 * sigma**2)) for k in range(taps)]
    down = taps * math.sin(math.pi * angle / 180)
    along = taps * math.cos(math.pi * angle / 180)
    length = math.hypot(down, along)
    result = np.zeros_like(x)
    for row in range(height):
        for column in range(width):
            for k in range(taps):
                i = row + math.ceil(k * down / length - 0.5)
                j = column + math.ceil(k * along / length - 0.5)
                i, j = min(max(i, 0), height - 1), min(max(j, 0), width - 1)
                result[row, column] += weights[k] / sum(weights) * x[i, j]
    return result


def slow_zoom(x: Floats, factor: float) -> Floats:
    """The scripts' clipped_zoom of a square [H, H, C], by SciPy's zoom."""
    from scipy.ndimage import zoom

    side = len(x)
    cut = math.ceil(side / factor)
    start = (side - cut) // 2
    large = zoom(x[start : start + cut, start : start + cut], (factor, factor, 1), order=1)
    trim = (len(large) - side) // 2
    return large[trim : trim + side, trim : trim + side]
