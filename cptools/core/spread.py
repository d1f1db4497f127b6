"""Noise that was learned at one size, on a photograph of any size.

What trains on a photograph takes its central square, shrinks it to the size that the noise was
learned at, and so finds the noise again. The noise is never held whole: for a photograph of 12
megapixels it would take 144 MB.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8] | NDArray[np.uint16]
Field = NDArray[np.float32]

_STEPS = np.arange(-1, 3)  # from a place between two values: the one before them, to the one behind
_CUBIC = np.array(  # from these four to the coefficients of 1, t, t^2 and t^3
    [[0, 1, 0, 0], [-0.5, 0, 0.5, 0], [1, -2.5, 2, -0.5], [-0.5, 1.5, -1.5, 0.5]], np.float32
)
_BLOCK = 1 << 18  # values that are worked on at a time; they fit into a cache


def spread(row: Field, height: int, width: int) -> Iterator[tuple[int, Field]]:
    """Noise over a whole picture: over its central square, and repeated beyond it.

    Between the values of `row` it is a cubic spline (Catmull-Rom; Keys 1981, a = -1/2), cut off at
    the least and the greatest of them: smooth, so that JPEG keeps it, and closer to the noise when
    the picture is shrunk again than a bilinear one is.

    Args:
        row: float [C, S, S], noise of one class.
        height: of the picture.
        width: of the picture.

    Yields:
        The first line of a block of lines, and float32 [lines, width, C]; from top to bottom.
    """
    side, (num, _, size) = min(height, width), row.shape
    low, high = float(row.min()), float(row.max())
    across = np.ascontiguousarray(row.transpose(1, 2, 0), np.float32)  # [S, S, C]
    first, share = _between(width, side, size)
    t = share[:, None]
    around = np.stack([across[:, (first + step) % size] for step in _STEPS])
    a, b, c, d = np.tensordot(_CUBIC, around, 1)
    lines = ((d * t + c) * t + b) * t + a  # [S, W, C]
    first, share = _between(height, side, size)
    most = max(1, _BLOCK // (width * num))
    ends = np.flatnonzero(np.diff(first)) + 1  # the lines between two values of `row`
    for top, end in zip([0, *ends], [*ends, height], strict=True):
        a, b, c, d = np.tensordot(_CUBIC, lines[(first[top] + _STEPS) % size], 1)
        for line in range(top, end, most):
            t = share[line : min(line + most, end), None, None]
            noise = d * t
            for term in (c, b):
                noise += term
                noise *= t
            noise += a
            yield int(line), np.clip(noise, low, high, out=noise)


def _between(length: int, side: int, num: int) -> tuple[NDArray[np.int64], Field]:
    """For each pixel along a side: the value that it lies behind, and its way to the next one."""
    place = (np.arange(length) + 0.5 - (length - side) / 2) * (num / side) - 0.5
    before = np.floor(place)
    return before.astype(np.int64), (place - before).astype(np.float32)


def turned(row: Field, orientation: int) -> Field:
    """Noise for a picture as it is stored, from noise for the upright picture.

    Args:
        row: [C, S, S], for the picture as EXIF says to show it.
        orientation: of EXIF, 1 to 8.
    """
    match orientation:
        case 2:
            return row[:, :, ::-1]
        case 3:
            return row[:, ::-1, ::-1]
        case 4:
            return row[:, ::-1]
        case 5:
            return row.transpose(0, 2, 1)
        case 6:
            return row[:, :, ::-1].transpose(0, 2, 1)
        case 7:
            return row[:, ::-1, ::-1].transpose(0, 2, 1)
        case 8:
            return row.transpose(0, 2, 1)[:, :, ::-1]
    return row


def poison_pixels(pixels: Pixels, row: Field, scale: float, most: int) -> Pixels:
    """Pixels with noise: clamp(round(pixel + noise)), no pixel further than `most` from its own.

    Args:
        pixels: [H, W, C] of unsigned integers.
        row: [C, S, S] in [-1, 1].
        scale: levels that 1 stands for.
        most: levels that a pixel may move, floor(scale).
    """
    height, width, _ = pixels.shape
    poisoned = np.empty_like(pixels)
    levels = (scale * row.astype(np.float32)).clip(-most, most)
    for top, noise in spread(levels, height, width):
        lines = slice(top, top + len(noise))
        noise += pixels[lines]
        np.rint(noise, out=noise)
        np.clip(noise, 0, np.iinfo(pixels.dtype).max, out=noise)
        poisoned[lines] = noise  # of whole numbers, so that nothing is cut off
    return poisoned


def beyond_bound(counts: NDArray[np.int64], bound: int) -> tuple[int, ...]:
    """Of what `distances` counted: within a bound, then one level beyond it, two, and so on."""
    return (int(counts[: bound + 1].sum()), *counts[bound + 1 :].tolist())


def distances(pixels: Pixels, others: Pixels) -> NDArray[np.int64]:
    """How many values are how many levels apart; int64 [1 + the largest distance]."""
    lines = max(1, _BLOCK // max(1, pixels[0].size))
    counts = np.zeros(1, np.int64)
    for top in range(0, len(pixels), lines):
        one, other = pixels[top : top + lines], others[top : top + lines]
        found = np.bincount((np.maximum(one, other) - np.minimum(one, other)).reshape(-1))
        few, counts = sorted((found, counts), key=len)
        counts[: len(few)] += few
    return counts
