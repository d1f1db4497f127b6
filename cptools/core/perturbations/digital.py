"""What storing and sending does to images."""

import torch
from torch import Tensor

from cptools.core.defenses.reduce import jpeg
from cptools.core.perturbations.pixels import apply_maps, to_bits, to_scale


def jpeg_compression(images: Tensor, *, quality: float) -> Tensor:
    """Compress by libjpeg.

    CIFAR-10-C `jpeg_compression`.

    Args:
        images: uint8 [N, 3, H, W].
        quality: 1 to 100.
    """
    return jpeg(images, quality=int(quality))


def pixelate(images: Tensor, *, share: float) -> Tensor:
    """Shrink and enlarge again, by Pillow's box filter.

    CIFAR-10-C `pixelate`.

    Args:
        images: uint8 [N, 3, H, W].
        share: Of the sides, when shrunk.
    """
    height, width = images.shape[-2:]
    few_rows, few_columns = max(int(height * share), 1), max(int(width * share), 1)
    down = _box(few_rows, height) @ _box(height, few_rows)
    along = _box(few_columns, width) @ _box(width, few_columns)
    return to_bits(apply_maps(to_scale(images), down, along))


def _box(source: int, size: int) -> Tensor:
    """The mean of the pixels whose centers a new pixel covers: float64 [size, source].

    Pillow's src/libImaging/Resample.c, `precompute_coeffs` and `box_filter`.
    """
    ratio = source / size
    centers = (torch.arange(size, dtype=torch.float64).unsqueeze(1) + 0.5) * ratio
    away = (torch.arange(source, dtype=torch.float64) + 0.5 - centers) / max(ratio, 1)
    weights = ((away > -0.5) & (away <= 0.5)).double()
    return weights / weights.sum(1, keepdim=True)
