"""Random rectangles, of which what lies outside the image is lost."""

import torch
from torch import Generator, Tensor


def random_boxes(sides: Tensor, *, height: int, width: int, generator: Generator) -> Tensor:
    """Where a rectangle lies whose center is any pixel of the image, as in Cutout and CutMix.

    Args:
        sides: Height and width of each rectangle in pixels, int64 [2, N], on the CPU.
        height: Of the images.
        width: Of the images.
        generator: On the CPU; advances.

    Returns:
        bool [N, 1, H, W], true inside.
    """
    inside = []
    for side, length in zip(sides, (height, width), strict=True):
        center = torch.randint(length, (len(side),), generator=generator)
        start = (center - side // 2).unsqueeze(1)
        place = torch.arange(length)
        inside.append((start <= place) & (place < start + side.unsqueeze(1)))
    rows, columns = inside
    both: Tensor = rows[:, None, :, None] & columns[:, None, None, :]
    return both
