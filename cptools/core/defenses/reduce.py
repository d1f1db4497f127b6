"""Defenses that keep less of an image: grayscale, JPEG, WebP, few bits.

Made against poisons of supervised learning: Liu, Zhao and Larson (Image shortcut squeezing, ICML
2023) find that grayscale and JPEG undo most of them.
"""

import io

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from cptools.core.checks import check_images, check_whole
from cptools.core.views.color import GRAY


def grayscale(images: Tensor) -> Tensor:
    """Replace the channels by their luma, 0.299 R + 0.587 G + 0.114 B, rounded.

    Args:
        images: uint8 [N, C, H, W], C 3 or 1.

    Returns:
        uint8 [N, C, H, W].
    """
    check_images(images, channels=None, empty=True)
    if images.shape[1] == 1:
        return images.clone()
    weights = torch.tensor(GRAY, device=images.device).view(3, 1, 1)
    luma: Tensor = (images * weights).sum(1, keepdim=True).round_().to(torch.uint8)
    return luma.expand_as(images).clone()


def jpeg(images: Tensor, *, quality: int) -> Tensor:
    """Compress by libjpeg and decompress: 8 x 8 blocks, color at half the resolution.

    Pillow does it on the CPU, a file an image: about 80 microseconds at 32 x 32.

    Args:
        images: uint8 [N, C, H, W], C 3 or 1.
        quality: From 1 (worst) to 100.

    Returns:
        uint8 [N, C, H, W].
    """
    return _through_files(images, "JPEG", quality)


def webp(images: Tensor, *, quality: int) -> Tensor:
    """Compress by libwebp, with loss, and decompress.

    Pillow does it on the CPU, a file an image.

    Args:
        images: uint8 [N, C, H, W], C 3 or 1.
        quality: From 1 (worst) to 100.

    Returns:
        uint8 [N, C, H, W].
    """
    return _through_files(images, "WEBP", quality)


def _through_files(images: Tensor, form: str, quality: int) -> Tensor:
    check_images(images, channels=None, empty=True)
    check_whole("quality", quality, 1, 100)
    pixels = images.permute(0, 2, 3, 1).cpu().numpy()
    decoded = np.empty_like(pixels)
    for image, result in zip(pixels, decoded, strict=True):
        result[:] = _through_a_file(image, form, quality)
    return torch.from_numpy(decoded).permute(0, 3, 1, 2).contiguous().to(images.device)


def _through_a_file(image: NDArray[np.uint8], form: str, quality: int) -> NDArray[np.uint8]:
    """One image, uint8 [H, W, C]."""
    picture = Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image)
    with io.BytesIO() as file:
        picture.save(file, form, quality=quality)
        return np.asarray(Image.open(file).convert(picture.mode)).reshape(image.shape)


def bit_depth(images: Tensor, *, bits: int) -> Tensor:
    """Round every value to the nearest of 2^bits levels, evenly spaced from 0 to 255.

    Xu, Evans and Qi (Feature squeezing, NDSS 2018, section II.A).

    Args:
        images: uint8 [N, C, H, W].
        bits: From 1 to 8; 8 changes nothing.

    Returns:
        uint8 [N, C, H, W].
    """
    check_images(images, channels=None, empty=True)
    check_whole("bits", bits, 1, 8)
    step = 255 / (2**bits - 1)
    reduced: Tensor = (images / step).round_().mul_(step).round_()
    return reduced.to(torch.uint8)
