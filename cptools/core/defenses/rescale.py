"""What becomes of images on the way, between their publication and a training: other sizes.

Both use Pillow's bilinear filter, which averages where it shrinks, plane by plane on the CPU.
"""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cptools.core.checks import check_images, check_number


def resize(images: Tensor, *, factor: float) -> Tensor:
    """Resize by a factor, and back: 0.5 is half the size and back, 0.9 a screenshot's scaling.

    Args:
        images: uint8 [N, C, H, W].
        factor: of the sides, rounded to whole pixels and at least one.

    Returns:
        uint8 [N, C, H, W].
    """
    check_images(images, channels=None, empty=True)
    check_number("factor", factor, above=True)
    height, width = images.shape[-2:]
    other = _resized(images, max(round(height * factor), 1), max(round(width * factor), 1))
    return _resized(other, height, width)


def crop(images: Tensor, *, share: float) -> Tensor:
    """Keep the middle of images and resize it to the size they had.

    Args:
        images: uint8 [N, C, H, W].
        share: of the sides that is kept, above 0 and at most 1, rounded to whole pixels.

    Returns:
        uint8 [N, C, H, W].
    """
    check_images(images, channels=None, empty=True)
    check_number("share", share, 0, 1, above=True)
    height, width = images.shape[-2:]
    rows, columns = max(round(height * share), 1), max(round(width * share), 1)
    top, left = (height - rows) // 2, (width - columns) // 2
    return _resized(images[..., top : top + rows, left : left + columns], height, width)


def _resized(images: Tensor, height: int, width: int) -> Tensor:
    planes = images.flatten(0, 1).cpu().numpy()
    resized = np.empty((len(planes), height, width), np.uint8)
    for plane, result in zip(planes, resized, strict=True):
        picture = Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR)
        result[:] = np.asarray(picture)
    return torch.from_numpy(resized).view(*images.shape[:2], height, width).to(images.device)
