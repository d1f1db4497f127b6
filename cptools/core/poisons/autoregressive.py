"""Autoregressive perturbations (AR; Sandoval-Segura et al., NeurIPS 2022): noise without training.

A class has an autoregressive process for each channel: eight coefficients that make a pixel of the
eight before it in a window of 3 x 3 (their section 3). An image's noise starts as Gaussian numbers
in the first two rows and columns, and the process of its class fills in the rest. So a filter of
3 x 3, the coefficients and -1, gives exactly zero on all noise of a class: a feature that a
convolution finds at once, where no two images have the same noise.

Processes are drawn until there is one for each class (their algorithm 1, with the constants of the
released code): normal coefficients scaled to a sum of 1, whose noise does not grow, and which the
filters of the other classes respond to.

The noise has a fixed L2 norm, 1 in the paper for images of 32 x 32, that is, a root mean square of
4.6 gray levels; that bounds it, and epsilon is 1 unless one is given. Of a smaller one, what leaves
the L-infinity ball is cut off, and the noise is no longer autoregressive there: on `shapes` at
8/255, 9% of it, after which the filter of its class is the most silent one on 30% of the images
instead of all.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from cptools.core.checks import check_number
from cptools.core.poisons.at_once import AtOnce
from cptools.core.poisons.base import Problem
from cptools.core.poisons.budget import project
from cptools.core.random import stream

WINDOW = 3
CROP = 4  # rows and columns at the start that are left out, the Gaussian ones among them
SIDE = 36  # of the noise by which processes are chosen, before the crop
TRIALS = 3  # pieces of noise by which a process is judged
LARGEST = 50.0  # L2 norm of each of them, at most
CHANNELS = 600  # drawn at a time
ATTEMPTS = 500  # of so many, before it is given up


def generate(coefficients: Tensor, start: Tensor) -> Tensor:
    """Let processes fill in the noise, row by row, from what it starts with.

    Args:
        coefficients: float [C, 3, 3], the window of each of C channels; the last is not used.
        start: float [N, C, H, W], of which the first two rows and columns are used.

    Returns:
        [N, C, H, W]: each further pixel is the sum of those before it in its window, times their
        coefficients.
    """
    past = coefficients.permute(1, 2, 0).flatten(0, 1)[:-1, None]  # [8, 1, C]
    noise = start.permute(2, 3, 0, 1).clone(memory_format=torch.contiguous_format)
    for row in range(len(noise) - WINDOW + 1):
        for column in range(noise.shape[1] - WINDOW + 1):
            window = noise[row : row + WINDOW, column : column + WINDOW].flatten(0, 1)[:-1]
            noise[row + WINDOW - 1, column + WINDOW - 1] = (window * past).sum(0)
    return noise.permute(2, 3, 0, 1)


def response(coefficients: Tensor, noise: Tensor) -> Tensor:
    """What the filters of processes give on noise, summed where it is positive.

    Args:
        coefficients: float [M, 3, 3, 3].
        noise: float [N, 3, H, W].

    Returns:
        [N, M]; 0 of a process and its own noise.
    """
    filters = coefficients.clone()
    filters[..., -1, -1] = -1
    return F.conv2d(noise, filters).relu().sum((2, 3))


def processes(num_classes: int, generator: torch.Generator, *, least_response: float) -> Tensor:
    """Draw a process for each class, apart from each other.

    Args:
        num_classes: C.
        generator: on the CPU; advances.
        least_response: of every class's filter to the noise of the others, of L2 norm 1.

    Returns:
        Coefficients, float32 [C, 3, 3, 3], the last of each window 0.

    Raises:
        ValueError: no such processes are found.
    """
    found: list[Tensor] = []
    for _ in range(ATTEMPTS):
        # Channels are independent: those that fail alone are dropped before they are put together.
        drawn = torch.randn(CHANNELS, WINDOW, WINDOW, generator=generator)
        drawn[:, -1, -1] = 0
        drawn /= drawn.sum((1, 2), keepdim=True)
        noise = generate(drawn, torch.randn(TRIALS, CHANNELS, SIDE, SIDE, generator=generator))
        noise = noise[:, :, CROP:, CROP:]
        # Not true of what grew beyond all numbers.
        stable = (noise.flatten(2).norm(dim=2) <= LARGEST).all(0).nonzero().flatten()
        triples = stable[: len(stable) - len(stable) % 3].view(-1, 3)
        for triple in triples:
            pieces = noise[:, triple]
            norms = pieces.flatten(1).norm(dim=1)
            if bool((norms > LARGEST).any()):
                continue
            last = pieces[-1:] / norms[-1]
            if found and float(response(torch.stack(found), last).min()) < least_response:
                continue
            found.append(drawn[triple])
            if len(found) == num_classes:
                return torch.stack(found)
    raise ValueError(
        f"found {len(found)} autoregressive processes for {num_classes} classes; use a smaller"
        " `least_response`"
    )


class Autoregressive(AtOnce):
    """The whole poison in one round.

    Args:
        problem: what to poison, in mode `sample`.
        rms: root mean square of the noise in gray levels; its L2 norm is rms / 255 times the root
            of the number of values in an image. What leaves the L-infinity ball is cut off.
        least_response: of the filter of a class to the noise of the others, when it has norm 1.

    Raises:
        ValueError: the problem is not sample-wise, or a number is out of range.
    """

    def __init__(self, problem: Problem, *, rms: float, least_response: float):
        if problem.mode != "sample":
            raise ValueError("AR draws its noise image by image; give `mode=sample`")
        check_number("rms", rms)
        check_number("least_response", least_response)
        super().__init__(problem)
        self.rms, self.least_response = rms, least_response

    def make(self) -> None:
        """Draw the processes, and the noise of one class after the other."""
        problem = self.problem
        generator = stream(problem.seed, "delta")
        drawn = processes(problem.num_classes, generator, least_response=self.least_response).to(
            self.delta.device
        )
        _, channels, height, width = problem.shape
        scale = self.rms / 255 * (channels * height * width) ** 0.5
        for label in range(problem.num_classes):
            rows = (problem.labels == label).nonzero().flatten()
            size = (len(rows), channels, height + CROP, width + CROP)
            start = torch.randn(size, generator=generator).to(self.delta.device)
            noise = generate(drawn[label], start)[:, :, CROP:, CROP:]
            noise *= scale / noise.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
            if problem.epsilon:
                self.delta[rows] = project(noise / float(problem.epsilon))


def autoregressive(problem: Problem, values: Mapping[str, Any]) -> Autoregressive:
    """Autoregressive perturbations by the settings of a recipe.

    Raises:
        ValueError: the problem has a start; this noise is drawn, not learned.
    """
    if problem.init is not None:
        raise ValueError(
            "`init` does not apply to `alg=autoregressive`: its noise is drawn, not learned"
        )
    return Autoregressive(problem, rms=values["rms"], least_response=values["least_response"])
