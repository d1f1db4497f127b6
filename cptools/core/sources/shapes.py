"""The built-in dataset: ten classes of shapes, drawn by code from a seed.

Each image is one figure on a background. Its class is the figure's shape and nothing else: all
shapes have the same distributions of area, centroid, brightness and color. Position, scale,
rotation, polarity (lighter or darker than the background), shading, background and color are
nuisances, so raw pixels say little about the class and a learned representation says much.

`contrast` scales the finished image about mid gray. Low-contrast images are the regime in
which a perturbation of 8/255 is not small, as in scans and X-rays.

Drawing takes only correctly rounded operations on each pixel (no BLAS, no per-pixel sine), so
the same options give the same bytes on every machine.

N images, n images of one batch, H = W = size.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Distance = Callable[[Floats, Floats], Floats]

_BATCH_PIXELS = 1 << 19  # 2 MB of float32: a batch's arrays stay in the cache
_UNIT_GRID = 256  # points a side on which a shape's area and centroid are measured


# Signed distances to the outline (negative inside), for points (x, y) of any shape. The unit is
# arbitrary: `_unit` brings all shapes to the area of the unit disk and to centroid 0.


def _length(x: Floats, y: Floats) -> Floats:
    length: Floats = np.sqrt(x * x + y * y)
    return length


def _box(x: Floats, y: Floats, half_width: float, half_height: float) -> Floats:
    return np.maximum(np.abs(x) - np.float32(half_width), np.abs(y) - np.float32(half_height))


def _disk(x: Floats, y: Floats) -> Floats:
    return _length(x, y) - np.float32(1.0)


def _ring(x: Floats, y: Floats) -> Floats:
    ring: Floats = np.abs(_length(x, y) - np.float32(0.78)) - np.float32(0.22)
    return ring


def _square(x: Floats, y: Floats) -> Floats:
    return _box(x, y, 1.0, 1.0)


def _triangle(x: Floats, y: Floats) -> Floats:
    slanted = np.float32(0.8660254) * np.abs(x) - np.float32(0.5) * y
    return np.maximum(slanted, y) - np.float32(0.5)


def _star(x: Floats, y: Floats) -> Floats:
    """Five points; the plane is folded onto one half of one point, which is then one segment."""
    cos, sin = np.float32(0.80901699), np.float32(0.58778525)  # of 36 degrees
    x = np.abs(x)
    fold = np.float32(2.0) * np.maximum(cos * x - sin * y, np.float32(0.0))
    x, y = x - fold * cos, y + fold * sin
    fold = np.float32(2.0) * np.maximum(-cos * x - sin * y, np.float32(0.0))
    x, y = np.abs(x + fold * cos), y + fold * sin - np.float32(1.0)
    inner = 0.42
    edge_x, edge_y = inner * 0.58778525, inner * 0.80901699 - 1.0
    onto = (x * np.float32(edge_x) + y * np.float32(edge_y)) / np.float32(edge_x**2 + edge_y**2)
    along: Floats = np.clip(onto, np.float32(0.0), np.float32(1.0))
    off_x: Floats = x - along * np.float32(edge_x)
    off_y: Floats = y - along * np.float32(edge_y)
    distance: Floats = np.copysign(
        _length(off_x, off_y), y * np.float32(edge_x) - x * np.float32(edge_y)
    )
    return distance


def _cross(x: Floats, y: Floats) -> Floats:
    cross: Floats = np.minimum(_box(x, y, 1.0, 0.3), _box(x, y, 0.3, 1.0))
    return cross


def _crescent(x: Floats, y: Floats) -> Floats:
    bite = _length(x - np.float32(0.55), y) - np.float32(0.8)
    crescent: Floats = np.maximum(_disk(x, y), -bite)
    return crescent


def _heart(x: Floats, y: Floats) -> Floats:
    """A square on its corner, with a half disk on each of its two upper sides."""
    one, root = np.float32(1.0), np.float32(0.70710678)
    x, y = (x - y) * root, (-x - y) * root
    lobes = np.minimum(_length(x - one, y), _length(x, y - one)) - one
    return np.minimum(_square(x, y), lobes)


def _ell(x: Floats, y: Floats) -> Floats:
    stem = _box(x + np.float32(0.5), y, 0.28, 1.0)
    foot = _box(x, y - np.float32(0.72), 0.78, 0.28)
    return np.minimum(stem, foot)


def _bar(x: Floats, y: Floats) -> Floats:
    return _box(x, y, 1.0, 0.38)


_SHAPES: dict[str, Distance] = {
    "bar": _bar,
    "crescent": _crescent,
    "cross": _cross,
    "disk": _disk,
    "ell": _ell,
    "heart": _heart,
    "ring": _ring,
    "square": _square,
    "star": _star,
    "triangle": _triangle,
}

CLASSES: tuple[str, ...] = tuple(_SHAPES)
"""Class names; the label is the position. Sorted, as a folder of classes would be."""


@cache
def _unit(name: str) -> tuple[np.float32, np.float32, np.float32]:
    """Scale and centroid (scale, x, y) that bring a shape to area pi and centroid 0.

    The point (x, y) of the normalized shape is (scale * x + center_x, ...) in the shape's own unit.
    """
    extent = 2.2
    ticks = np.arange(_UNIT_GRID) * 2 + 1 - _UNIT_GRID  # odd integers: exact sums
    axis = (ticks * (extent / _UNIT_GRID)).astype(np.float32)
    inside: NDArray[np.bool_] = _SHAPES[name](axis[None, :], axis[:, None]) < 0.0  # (y, x)
    count = int(inside.sum())
    area = count * (2 * extent / _UNIT_GRID) ** 2
    center_x = int((inside.sum(axis=0) * ticks).sum()) / count * (extent / _UNIT_GRID)
    center_y = int((inside.sum(axis=1) * ticks).sum()) / count * (extent / _UNIT_GRID)
    return np.float32((area / np.pi) ** 0.5), np.float32(center_x), np.float32(center_y)


def _nuisances(count: int, generator: np.random.Generator) -> dict[str, Floats]:
    """Everything random about `count` images but the white noise; lengths in image widths."""

    def uniform(low: float, high: float, *shape: int) -> NDArray[np.float64]:
        return generator.uniform(low, high, (count, *shape))

    def direction(low: float, high: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """A vector of random direction whose length is uniform in [low, high)."""
        angle, length = uniform(0.0, 2.0 * np.pi), uniform(low, high)
        return length * np.cos(angle), length * np.sin(angle)

    def tint(amount: float) -> NDArray[np.float64]:
        """Color that leaves the mean over the channels alone, (N, 3)."""
        color = uniform(-amount, amount, 3)
        neutral: NDArray[np.float64] = color - color.mean(axis=1, keepdims=True)
        return neutral

    polarity = np.where(uniform(0.0, 1.0) < 0.5, -1.0, 1.0)
    step = polarity * uniform(0.48, 0.6)  # figure minus background, in [-1, 1]
    drawn = {
        "x": uniform(-0.1, 0.1),
        "y": uniform(-0.1, 0.1),
        "radius": uniform(0.22, 0.28),  # of the disk of the same area
        "step": step,
        "level": uniform(-0.05, 0.05) - 0.4 * step,
        "figure_tint": tint(0.02),
        "ground_tint": tint(0.02),
        "clouds": uniform(-0.02, 0.02, 5, 5),
    }
    turn = uniform(-0.4, 0.4)  # radians
    drawn["cos"], drawn["sin"] = np.cos(turn), np.sin(turn)
    drawn["shade_x"], drawn["shade_y"] = direction(0.03, 0.1)  # change over one radius
    drawn["slope_x"], drawn["slope_y"] = direction(0.0, 0.06)  # change over the image's width
    return {name: values.astype(np.float32) for name, values in drawn.items()}


def _enlarge(coarse: Floats, size: int) -> Floats:
    """Bilinear enlargement of (n, k, k) to (n, size, size), corners on corners."""
    last = coarse.shape[1] - 1
    at = np.arange(size) * (last / max(size - 1, 1))
    low = np.minimum(at.astype(np.int64), last - 1)
    weight = (at - low).astype(np.float32)
    rows = coarse[:, low] * (1 - weight)[:, None] + coarse[:, low + 1] * weight[:, None]
    enlarged: Floats = rows[:, :, low] * (1 - weight) + rows[:, :, low + 1] * weight
    return enlarged


def _paint(
    name: str, drawn: dict[str, Floats], noise: NDArray[np.uint8], contrast: float
) -> NDArray[np.uint8]:
    """Images of one class, uint8 (n, 3, H, W), from their nuisances and white noise (n, H, W)."""
    size = noise.shape[1]
    at = {key: values[:, None, None] for key, values in drawn.items() if values.ndim == 1}
    axis = ((np.arange(size) + 0.5) / size - 0.5).astype(np.float32)
    x, y = axis[None, None, :], axis[None, :, None]  # (1, 1, W), (1, H, 1)

    # The figure's own frame: centered, turned, in units of its radius.
    shift_x, shift_y = (x - at["x"]) / at["radius"], (y - at["y"]) / at["radius"]
    turned_x = at["cos"] * shift_x + at["sin"] * shift_y  # (n, H, W)
    turned_y = at["cos"] * shift_y - at["sin"] * shift_x
    scale, center_x, center_y = _unit(name)
    distance = _SHAPES[name](turned_x * scale + center_x, turned_y * scale + center_y)
    pixels = at["radius"] * np.float32(size) / scale  # in one unit of `distance`
    cover = np.clip(np.float32(0.5) - distance * pixels, np.float32(0.0), np.float32(1.0))

    ground = at["level"] + at["slope_x"] * x + at["slope_y"] * y
    ground = ground + _enlarge(drawn["clouds"], size)
    ground += noise * np.float32(0.04 / 255.0) - np.float32(0.02)
    figure = at["step"] + at["shade_x"] * shift_x + at["shade_y"] * shift_y
    gray = ground + cover * figure  # (n, H, W), deviation from mid gray

    change = (drawn["figure_tint"] - drawn["ground_tint"])[:, :, None, None]
    image = gray[:, None] + drawn["ground_tint"][:, :, None, None] + cover[:, None] * change
    np.clip(image, np.float32(-0.5), np.float32(0.5), out=image)
    image *= np.float32(255.0 * contrast)
    image += np.float32(128.0)  # 127.5 and half a level, because the cast rounds down
    pixels_u8: NDArray[np.uint8] = np.minimum(image, np.float32(255.0)).astype(np.uint8)
    return pixels_u8


def _split(
    count: int, size: int, contrast: float, generator: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """One split: images (N, 3, H, W) and balanced labels (N,) in random order."""
    labels = generator.permutation(np.arange(count, dtype=np.int64) % len(CLASSES))
    drawn = _nuisances(count, generator)
    noise = generator.integers(0, 256, (count, size, size), dtype=np.uint8)
    images = np.empty((count, 3, size, size), dtype=np.uint8)
    batch = max(1, _BATCH_PIXELS // (size * size))
    for label, name in enumerate(CLASSES):
        members = np.flatnonzero(labels == label)
        for start in range(0, len(members), batch):
            rows = members[start : start + batch]
            own = {key: values[rows] for key, values in drawn.items()}
            images[rows] = _paint(name, own, noise[rows], contrast)
    return images, labels


def shapes(
    *,
    train: int = 1000,
    test: int = 2000,
    contrast: float = 0.25,
    size: int = 32,
    seed: int = 0,
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.uint8], NDArray[np.int64]]:
    """Make the built-in dataset.

    The two splits come from independent streams of the seed, so changing the size of one leaves
    the other as it was. Classes are balanced: their counts differ by at most one.

    Args:
        train: Number of training images, >= 1.
        test: Number of test images, >= 1.
        contrast: Factor on the image's deviation from mid gray, in (0, 1]; 1 is full contrast,
            and 0.25 gives a pixel standard deviation of about 0.05 in [0, 1].
        size: Height and width in pixels, in [8, 512].
        seed: Seed of all randomness, >= 0.

    Returns:
        (train_images, train_labels, test_images, test_labels): uint8 (N, 3, size, size) and int64
        (N,), the labels being positions in `CLASSES`.

    Raises:
        ValueError: An option is out of its range.
    """
    _check(train >= 1, "train", "at least 1", train)
    _check(test >= 1, "test", "at least 1", test)
    _check(0.0 < contrast <= 1.0, "contrast", "in (0, 1]", contrast)
    _check(8 <= size <= 512, "size", "in [8, 512]", size)
    _check(seed >= 0, "seed", "at least 0", seed)
    for_train, for_test = np.random.SeedSequence(seed).spawn(2)
    first = _split(train, size, contrast, np.random.Generator(np.random.PCG64(for_train)))
    second = _split(test, size, contrast, np.random.Generator(np.random.PCG64(for_test)))
    return (*first, *second)


def _check(accepted: bool, option: str, wanted: str, got: Any) -> None:
    if not accepted:
        raise ValueError(f"expected {option} {wanted}, got {got}")
