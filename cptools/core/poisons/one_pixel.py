"""One-pixel shortcuts (OPS; Wu et al., ICLR 2023): one pixel a class, which nothing is learned for.

Their algorithm 1: of all pixels and all colors at the corners of the RGB cube, the images of a
class take the pixel and the color that lie far from what they have there, and equally far in all of
them: the greatest ratio of mean to variance, over the images, of the distance summed over the
channels (their section 3). No two classes take the same pixel and color. The released code divides
by the standard deviation over images and channels instead, and takes the mean over both.

It bounds how many pixels change, not by how much: epsilon is 1 unless one is given. The delta of a
class is 1 or -1 at its pixel, which sets the pixel to the color whatever it was; under a smaller
epsilon it moves towards the color by so much.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from cptools.core.checks import to_float
from cptools.core.poisons.at_once import AtOnce
from cptools.core.poisons.base import Problem

_SMALL = 1e-12  # keeps the ratio finite where a pixel is the same in all images of a class


def colors(channels: int) -> Tensor:
    """The corners of the color cube, float32 [2^C, C] of 0 and 1."""
    return torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * channels)


def score(x: Tensor, targets: Tensor) -> Tensor:
    """How well each pixel and color marks the images of a class.

    Args:
        x: the images of a class, float [N, C, H, W] in [0, 1].
        targets: colors [K, C].

    Returns:
        [K, H, W]: mean over variance of the distance to the color, in the L1 norm.
    """
    scores = []
    for color in targets:
        distance = (x - color.view(-1, 1, 1)).abs().sum(1)
        scores.append(distance.mean(0) / (distance.var(0, correction=0) + _SMALL))
    return torch.stack(scores)


class OnePixel(AtOnce):
    """The whole poison in one round.

    Args:
        problem: what to poison, in mode `class`.

    Raises:
        ValueError: the problem is not class-wise.
    """

    def __init__(self, problem: Problem):
        if problem.mode != "class":
            raise ValueError("OPS has one pixel for each class; give `mode=class`")
        super().__init__(problem)

    def make(self) -> None:
        """Find the pixel of one class after the other."""
        problem = self.problem
        _, channels, height, width = problem.shape
        targets = colors(channels).to(self.delta.device)
        taken = torch.zeros(len(targets), height, width, dtype=torch.bool, device=targets.device)
        if problem.num_classes > taken.numel():
            raise ValueError(
                f"{problem.num_classes} classes need more than {taken.numel()} pixels and colors; "
                "use larger images"
            )
        for label in range(problem.num_classes):
            images = problem.images[problem.labels == label]
            if not len(images):
                continue
            found = score(to_float(images), targets).masked_fill(taken, -1)
            color, row, column = (int(i) for i in (found == found.max()).nonzero()[0])
            taken[color, row, column] = True
            self.delta[label, :, row, column] = 2 * targets[color] - 1


def one_pixel(problem: Problem, _: Mapping[str, Any]) -> OnePixel:
    """One-pixel shortcuts; there is nothing to set.

    Raises:
        ValueError: the problem has a start; these pixels are found, not learned.
    """
    if problem.init is not None:
        raise ValueError("`init` does not apply to `alg=one-pixel`: its pixels are searched for")
    return OnePixel(problem)
