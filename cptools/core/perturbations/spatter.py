"""Spatter: water or mud on the lens."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

from cptools.core.perturbations.draws import Draws
from cptools.core.perturbations.pixels import (
    mirror,
    nearest,
    smooth,
    smooth_noise,
    to_bits,
    to_scale,
    unit,
)

WATER = (175, 238, 238)  # pale turquoise
MUD = (63, 42, 20)

_LENGTHS = {(0, 1): 1.0, (1, 1): 1.4, (1, 2): 2.1969}  # of moves down and along, or along and down
_MOVES = {
    (i, j): _LENGTHS[min(abs(i), abs(j)), max(abs(i), abs(j))]
    for i in range(-2, 3)
    for j in range(-2, 3)
    if (min(abs(i), abs(j)), max(abs(i), abs(j))) in _LENGTHS
}


def water(
    images: Tensor,
    *,
    mean: float,
    std: float,
    sigma: float,
    least: float,
    drips: float,
    opacity: float,
    draws: Draws,
) -> Tensor:
    """Drops of water, lit from one side.

    CIFAR-10-C `spatter`, severities 1 to 3, and CIFAR-10-P "Spatter", where the drops run down: in
    each frame by 0.8 pixels at 32.

    Args:
        images: uint8 [N, 3, H, W].
        mean: Of the Gaussian noise that the drops are made of.
        std: Its standard deviation.
        sigma: Standard deviation of its smoothing in pixels at 32.
        least: Thinner liquid is none.
        drips: Number of times that the drops have run: the frame.
        opacity: Of the water where it shows most.
        draws: Of the images.
    """
    size = unit(images)
    liquid = _liquid(images, mean, std, sigma, least, draws)
    run = _dripping(images.shape[2], round(drips * size)).to(liquid.device)
    liquid = (run @ liquid * 255).add_(1e-6).floor_()
    light = liquid * _relief(liquid, size)
    most = light.amax((1, 2), keepdim=True)
    shown = torch.where(most > 0, light / most, 0) * opacity
    return to_bits(to_scale(images) + shown.unsqueeze(1) * _color(WATER, shown))


def mud(
    images: Tensor,
    *,
    mean: float,
    std: float,
    sigma: float,
    least: float,
    soft: float,
    draws: Draws,
) -> Tensor:
    """Splashes of mud.

    CIFAR-10-C `spatter`, severities 4 and 5.

    Args:
        images: uint8 [N, 3, H, W].
        mean: Of the Gaussian noise that the splashes are made of.
        std: Its standard deviation.
        sigma: Standard deviation of its smoothing in pixels at 32.
        least: Thinner liquid is none.
        soft: Standard deviation of the smoothing of their shape, likewise.
        draws: Of the images.
    """
    liquid = _liquid(images, mean, std, sigma, least, draws)
    cover = smooth((liquid > least).double(), soft * unit(images))
    cover = (cover * (cover >= 0.8)).unsqueeze(1)
    return to_bits(to_scale(images) * (1 - cover) + cover * _color(MUD, cover))


def _color(color: tuple[int, int, int], like: Tensor) -> Tensor:
    return torch.tensor(color, dtype=like.dtype, device=like.device).view(3, 1, 1).div_(255)


def _liquid(
    images: Tensor, mean: float, std: float, sigma: float, least: float, draws: Draws
) -> Tensor:
    """Smooth noise where it is above a level, else 0: float64 [N, H, W] in [0, 1]."""
    noise = draws.normal(*images.shape[2:]).mul_(std)
    layer = (smooth_noise(noise, sigma, unit(images)) + mean).clamp_(max=1)
    return layer * (layer >= least)


def _dripping(height: int, times: int) -> Tensor:
    """A fifth stays, the rest goes down by one row; so many times: float64 [H, H]."""
    once = 0.2 * torch.eye(height, dtype=torch.float64)
    once += 0.8 * torch.ones(height, height, dtype=torch.float64).tril(-1).triu(-1)
    dripped: Tensor = torch.linalg.matrix_power(once, times)
    return dripped


def _relief(liquid: Tensor, size: float) -> Tensor:
    """Light on drops, which the script makes of the distance to their edges.

    Args:
        liquid: Whole numbers 0 to 255, float64 [N, H, W].
        size: `unit` of the images.

    Returns:
        Whole numbers 0 to 255, float64 [N, H, W].
    """
    distance = _distance(_edges(liquid, low=50, high=150), far=20 * size) / size
    height = _equalize(_mean_of_nine(distance).add_(1e-6).floor_())
    (a, b, _), (c, d, e), (_, f, g) = _neighbors(_beyond(height, mirror))
    lit = -2 * a - b - c + d + e + f + 2 * g
    return _mean_of_nine(lit.clamp_(0, 255)).add_(0.5 + 1e-6).floor_()


def _beyond(x: Tensor, border: Callable[[Tensor, int], Tensor]) -> Tensor:
    """One more pixel on each side of [N, H, W]."""
    _, height, width = x.shape
    rows = border(torch.arange(-1, height + 1, device=x.device), height)
    columns = border(torch.arange(-1, width + 1, device=x.device), width)
    return x[:, rows[:, None], columns]


def _neighbors(wider: Tensor) -> list[list[Tensor]]:
    """The 3 x 3 neighbors of every pixel but the outermost: [row][column] of [N, H - 2, W - 2]."""
    height, width = wider.shape[1] - 2, wider.shape[2] - 2
    return [[wider[:, i : i + height, j : j + width] for j in range(3)] for i in range(3)]


def _mean_of_nine(x: Tensor) -> Tensor:
    """OpenCV's `blur` by 3 x 3."""
    rows = _neighbors(_beyond(x, mirror))
    return torch.stack([part for row in rows for part in row]).sum(0).div_(9)


def _edges(x: Tensor, *, low: float, high: float) -> Tensor:
    """Canny's edges, as OpenCV finds them.

    Sobel gradients; their size |dx| + |dy|; thinned to where it is greatest across the edge, that
    is, along the nearest of four directions; and of what exceeds `low`, all that hangs together
    with something that exceeds `high`.

    Args:
        x: float64 [N, H, W].
        low: Least size of a gradient.
        high: Size that no neighbor must vouch for.

    Returns:
        bool [N, H, W].
    """
    (a, b, c), (d, _, f), (g, h, i) = _neighbors(_beyond(x, nearest))
    dx, dy = c + 2 * f + i - a - 2 * d - g, g + 2 * h + i - a - 2 * b - c
    size = dx.abs() + dy.abs()
    (a, b, c), (d, _, f), (g, h, i) = _neighbors(pad(size, (1, 1, 1, 1)))
    flat = dy.abs() < math.tan(math.pi / 8) * dx.abs()
    steep = dy.abs() > math.tan(3 * math.pi / 8) * dx.abs()
    falls = dx * dy > 0
    greatest = torch.where(
        flat,
        (size > d) & (size >= f),
        torch.where(
            steep,
            (size > b) & (size >= h),
            torch.where(falls, (size > a) & (size > i), (size > c) & (size > g)),
        ),
    )
    weak = greatest & (size > low)
    edges = greatest & (size > high)
    while True:
        grown = weak & _widen(_widen(edges, 1, 0), 0, 1)
        if torch.equal(grown, edges):
            return edges
        edges = grown


def _widen(marks: Tensor, down: int, along: int) -> Tensor:
    """Marks, and what lies next to one in a direction, forth and back: bool [N, H, W]."""
    wider = marks.clone()
    for sign in (1, -1):
        there = _overlap(marks, -sign * down, -sign * along)
        _overlap(wider, sign * down, sign * along).logical_or_(there)
    return wider


def _distance(marks: Tensor, *, far: float) -> Tensor:
    """Distance in pixels to the nearest mark, as OpenCV approximates it by a 5 x 5 mask.

    That is the shortest way of king's moves, straight ones of length 1 and slanted ones of 1.4, and
    knight's moves of length 2.1969 (Borgefors, Distance transformations in digital images, 1986).

    Args:
        marks: bool [N, H, W].
        far: Distances are cut off here.

    Returns:
        float64 [N, H, W].
    """
    distance = (~marks).double() * far
    while True:
        before = distance.clone()
        for (down, along), length in _MOVES.items():
            here = _overlap(distance, down, along)
            there = _overlap(distance, -down, -along)
            torch.minimum(here, there + length, out=here)
        if torch.equal(distance, before):
            return distance


def _overlap(x: Tensor, down: int, along: int) -> Tensor:
    """The part of [N, H, W] that a copy of it covers when shifted."""
    _, height, width = x.shape
    rows = slice(max(down, 0), max(height + min(down, 0), 0))
    return x[:, rows, max(along, 0) : max(width + min(along, 0), 0)]


def _equalize(x: Tensor) -> Tensor:
    """Spread the values of each image evenly over 0 to 255, as OpenCV's `equalizeHist`.

    Args:
        x: Whole numbers 0 to 255, float64 [N, H, W].

    Returns:
        Likewise; an image of one value is left as it is.
    """
    values = x.long().flatten(1)
    counts = torch.zeros(len(x), 256, dtype=torch.float64, device=x.device)
    counts.scatter_add_(1, values, torch.ones_like(values, dtype=torch.float64))
    lowest = counts.gather(1, values.amin(1, keepdim=True))
    others = values.shape[1] - lowest
    table = ((counts.cumsum(1) - lowest) * (255 / others)).round_()
    spread = table.gather(1, values).view_as(x)
    return torch.where(others.unsqueeze(2) > 0, spread, x)
