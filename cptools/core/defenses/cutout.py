"""Cutout, a defense of CP table 8."""

import torch
from torch import Generator, Tensor

from cptools.core.checks import check_images, check_whole
from cptools.core.defenses.boxes import random_boxes


def cutout(images: Tensor, *, size: int, generator: Generator) -> Tensor:
    """Cut one square hole into each image.

    DeVries and Taylor (2017): the hole's center is any pixel, so that part of the hole may lie
    outside. It is filled with the image's own mean color; they fill with the data set's mean, which
    a function of images alone does not know.

    Args:
        images: uint8 [N, C, H, W].
        size: Side of the hole in pixels.
        generator: On the CPU; advances.

    Returns:
        uint8 [N, C, H, W].

    Raises:
        ValueError: The hole is larger than the image.
    """
    check_images(images, channels=None, empty=True)
    check_whole("size", size, 1)
    num, _, height, width = images.shape
    if size > min(height, width):
        raise ValueError(
            f"a hole of {size} pixels is larger than the image; give at most {min(height, width)}"
        )
    sides = torch.full((2, num), size)
    hole = random_boxes(sides, height=height, width=width, generator=generator)
    mean = images.float().mean(dim=(2, 3), keepdim=True).round().to(torch.uint8)
    return torch.where(hole.to(images.device), mean, images)
