"""Linear separable perturbations (LSP; Yu et al., KDD 2022): shortcuts without any training.

Their section 4: points of a linearly separable problem, one Gaussian cluster a class about a
corner of a hypercube (the construction of Guyon 2003 for the MADELON data), each coordinate blown
up to a patch of the image, and the whole scaled to a fixed L2 norm.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from cptools.core.checks import check_number, check_whole
from cptools.core.poisons.at_once import AtOnce
from cptools.core.poisons.base import Problem
from cptools.core.poisons.budget import project
from cptools.core.random import stream

CLASS_SEP = 10.0  # half the side of the hypercube; drawn points deviate by 1 before mixing


def clusters(labels: Tensor, num_classes: int, dim: int, generator: torch.Generator) -> Tensor:
    """A point for each label: Gaussian clusters of random covariance on corners of a hypercube.

    Args:
        labels: int64 [N] in 0 .. C - 1.
        num_classes: C; at most 2^dim, so that each class has a corner to itself.
        dim: D.
        generator: on the CPU; advances.

    Returns:
        float32 [N, D].

    Raises:
        ValueError: there are more classes than corners.
    """
    if dim < 63 and num_classes > 2**dim:
        raise ValueError(
            f"{num_classes} classes need more than {dim} patches; use a smaller `patch_size`"
        )
    corners: list[list[int]] = []
    while len(corners) < num_classes:
        corner = torch.randint(2, (dim,), generator=generator).tolist()
        if corner not in corners:
            corners.append(corner)
    centers = CLASS_SEP * (2 * torch.tensor(corners, dtype=torch.float32) - 1)
    points = torch.randn(len(labels), dim, generator=generator)
    for label in range(num_classes):
        covariance = 2 * torch.rand(dim, dim, generator=generator) - 1
        points[labels == label] = points[labels == label] @ covariance + centers[label]
    return points


class LinearSeparable(AtOnce):
    """The whole poison in one round.

    Args:
        problem: what to poison, in mode `sample`.
        patch_size: pixels on the side of a patch.
        rms: root mean square of the noise in gray levels; its L2 norm is rms / 255 times the root
            of the number of values in an image. What leaves the L-infinity ball is cut off.
    """

    def __init__(self, problem: Problem, *, patch_size: int, rms: float):
        if problem.mode != "sample":
            raise ValueError("LSP draws its noise image by image; give `mode=sample`")
        check_whole("patch_size", patch_size, 1)
        check_number("rms", rms)
        super().__init__(problem)
        self.patch_size, self.rms = patch_size, rms

    def make(self) -> None:
        """Draw the noise."""
        problem = self.problem
        num, channels, height, width = problem.shape
        rows, columns = math.ceil(height / self.patch_size), math.ceil(width / self.patch_size)
        points = clusters(
            problem.labels.cpu(),
            problem.num_classes,
            channels * rows * columns,
            stream(problem.seed, "delta"),
        )
        noise = points.view(num, channels, rows, columns)
        for axis in (2, 3):
            noise = noise.repeat_interleave(self.patch_size, dim=axis)
        noise = noise[:, :, :height, :width]
        length = noise.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        noise = noise / length * (self.rms / 255 * math.sqrt(channels * height * width))
        if problem.epsilon:
            self.delta.copy_(project(noise / float(problem.epsilon)))


def lsp(problem: Problem, values: Mapping[str, Any]) -> LinearSeparable:
    """Linear separable perturbations by the settings of a recipe.

    Raises:
        ValueError: the problem has a start; this noise is drawn, not learned.
    """
    if problem.init is not None:
        raise ValueError("`init` does not apply to `alg=lsp`: its noise is drawn, not learned")
    return LinearSeparable(problem, patch_size=values["patch_size"], rms=values["rms"])
