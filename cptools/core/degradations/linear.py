"""Degradations that are a matrix for the rows and one for the columns: rescaling and blur."""

import math
from functools import cache

import torch
from torch import Tensor

from cptools.core.perturbations.pixels import gaussian, mirror
from cptools.core.views.geometry import resize_matrices


def by_axes(x: Tensor, down: Tensor, along: Tensor) -> Tensor:
    """Map the rows of images by one matrix and their columns by another.

    Args:
        x: float [..., H, W].
        down: [h, H].
        along: [w, W].

    Returns:
        [..., h, w], of the type and on the device of x.
    """
    return down.to(x) @ x @ along.to(x).mT


def resize(x: Tensor, factor: float) -> Tensor:
    """Shrink by a factor and enlarge again, as Pillow's BILINEAR does both.

    Args:
        x: float [B, C, H, W].
        factor: of the sides when shrunk, rounded to whole pixels and at least one.
    """
    return by_axes(x, *(_there_and_back(side, factor) for side in x.shape[-2:]))


@cache
def _there_and_back(length: int, factor: float) -> Tensor:
    few = max(1, round(length * factor))
    return _resized(few, length) @ _resized(length, few)


def _resized(source: int, size: int) -> Tensor:
    """Pillow's bilinear interpolation along one axis, [size, source]."""
    start, length = torch.zeros(1), torch.full((1,), source)
    return resize_matrices(start, length, None, source=source, size=size)[0]


def blur(x: Tensor, sigma: float) -> Tensor:
    """Gaussian blur, mirrored at the edges.

    Args:
        x: float [B, C, H, W].
        sigma: standard deviation in pixels; the kernel is cut off at three of them.
    """
    return by_axes(x, *(_blurred(side, sigma) for side in x.shape[-2:]))


@cache
def _blurred(length: int, sigma: float) -> Tensor:
    reach = math.ceil(3 * sigma)
    taps = gaussian(sigma, reach)
    places = torch.arange(length)[:, None] + torch.arange(-reach, reach + 1)
    empty = torch.zeros(length, length, dtype=torch.float64)
    return empty.scatter_add_(1, mirror(places, length), taps.expand(length, -1))
