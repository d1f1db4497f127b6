"""Coresets drawn at random, what others are compared with. N images."""

import torch
from torch import Tensor

from cptools.core.coresets.budgets import choose_in_each, kept
from cptools.core.random import stream


def random(num: int, fraction: float, *, seed: int) -> Tensor:
    """Keep images at random, every set of that many alike.

    Args:
        num: number of images N.
        fraction: of them that is kept, in (0, 1].
        seed: of the draw.

    Returns:
        int64 [round(fraction * N)], ascending.

    Raises:
        ValueError: the fraction is not in (0, 1], or keeps no image.
    """
    order = torch.randperm(num, generator=stream(seed, "select", "random"))
    return order[: kept(num, fraction)].sort().values


def balanced(classes: Tensor, fraction: float, *, seed: int) -> Tensor:
    """Keep images at random within each class, the same share of each.

    Args:
        classes: labels, int64 [N].
        fraction: of the images that is kept, in (0, 1]; divided over the classes in proportion to
            their sizes.
        seed: of the draw.

    Returns:
        int64 [round(fraction * N)], ascending, on the CPU.

    Raises:
        ValueError: the fraction is not in (0, 1], or leaves a class empty.
    """
    generator = stream(seed, "select", "balanced")
    return choose_in_each(
        classes,
        fraction,
        lambda rows, budget: torch.randperm(len(rows), generator=generator)[:budget],
    )
