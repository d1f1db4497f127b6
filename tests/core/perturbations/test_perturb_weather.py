"""Snow, frost, fog and spatter: the steps of their scripts, one pixel after the other."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scenes import Floats, channels_last, draws, far_off, scenes, slow_trail, slow_zoom

from cptools.core.perturbations import PERTURBATIONS, Level
from cptools.core.perturbations.spatter import mud, water
from cptools.core.perturbations.weather import fog, frost, snow

ndimage = pytest.importorskip("scipy.ndimage")


def level(kind: str, by: str, number: int) -> Level:
    found = PERTURBATIONS[kind].levels(by)[number]
    assert found is not None
    return found


@pytest.mark.parametrize(("by", "number"), [("severity", n) for n in range(1, 6)]
                         + [("frame", n) for n in (0, 15, 29)])  # fmt: skip
def test_snow(by: str, number: int) -> None:
    c = level("snow", by, number).constants
    images = scenes(2)
    numbers = draws(2)
    noise = numbers.normal(1, 32, 32).numpy()[:, 0]
    angles = numbers.between(c["low"], c["high"]).tolist()
    expected = []
    for image, layer, angle in zip(channels_last(images) / 255, noise, angles, strict=True):
        flakes = slow_zoom((c["mean"] + c["std"] * layer)[..., None], c["zoom"])
        flakes[flakes < c["least"]] = 0
        flakes = slow_trail(np.clip(flakes, 0, 1), c["radius"], c["sigma"], angle)
        gray = image @ np.array([0.299, 0.587, 0.114])
        white = np.maximum(image, gray[..., None] * 1.5 + 0.5)
        whitened = c["keep"] * image + (1 - c["keep"]) * white
        expected.append(255 * (whitened + flakes + np.rot90(flakes, 2)))
    assert far_off(snow(images, **c, draws=draws(2)), np.stack(expected)) < 0.51


def slow_cloud(noise: Floats, decay: float) -> Floats:
    """Diamonds and squares on a torus, point by point; each adds the noise at its place."""
    side = len(noise)
    cloud = np.zeros((side, side))
    step, amplitude = side, 100.0

    def middle(points: list[tuple[int, int]], place: tuple[int, int]) -> float:
        mean = sum(cloud[i % side, j % side] for i, j in points) / 4
        return float(mean + amplitude * noise[place] * amplitude)

    while step >= 2:
        half = step // 2
        for i in range(half, side, step):
            for j in range(half, side, step):
                corners = [(i - half, j - half), (i - half, j + half), (i + half, j - half),
                           (i + half, j + half)]  # fmt: skip
                cloud[i, j] = middle(corners, (i, j))
        for i in range(0, side, half):
            for j in range((i // half + 1) % 2 * half, side, step):
                beside = [(i - half, j), (i + half, j), (i, j - half), (i, j + half)]
                cloud[i, j] = middle(beside, (i, j))
        step, amplitude = half, amplitude / decay
    cloud -= cloud.min()
    result: Floats = cloud / cloud.max()
    return result


def clouds(num: int, side: int, decay: float) -> Floats:
    noise = 2 * draws(num).uniform(side, side).numpy() - 1
    return np.stack([slow_cloud(n, decay) for n in noise])


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_fog(number: int) -> None:
    c = level("fog", "severity", number).constants
    images = scenes(2)
    expected = []
    for image, cloud in zip(channels_last(images) / 255, clouds(2, 32, c["decay"]), strict=True):
        most = image.max()
        foggy = (image + c["thickness"] * cloud[..., None]) * most / (most + c["thickness"])
        expected.append(255 * foggy)
    assert far_off(fog(images, **c, draws=draws(2)), np.stack(expected)) < 0.51


def test_fog_of_another_size_is_cut_out_of_a_power_of_two() -> None:
    images = scenes(1, 20, 40)
    foggy = fog(images, thickness=0.5, decay=3.0, draws=draws(1))
    cloud = clouds(1, 64, 3.0)[0, :20, :40, None]
    image = channels_last(images)[0] / 255
    expected = 255 * (image + 0.5 * cloud) * image.max() / (image.max() + 0.5)
    assert far_off(foggy, expected[None]) < 0.51


@pytest.mark.parametrize("number", [1, 5])
def test_frost(number: int) -> None:
    c = level("frost", "severity", number).constants
    images = scenes(2)
    ridges = (1 - np.abs(2 * clouds(2, 32, 1.5) - 1))[..., None] ** 2
    ice = ridges * np.ones(3) + (1 - ridges) * np.array([0.35, 0.45, 0.55])
    expected = c["keep"] * channels_last(images) + c["ice"] * 255 * ice
    assert far_off(frost(images, **c, draws=draws(2)), expected) < 0.51


# Spatter: Canny, a chamfer distance, equalization and a relief, as OpenCV defines them.


def slow_edges(x: Floats) -> NDArray[np.bool_]:
    """Canny's edges at thresholds 50 and 150, gradients by 3 x 3 and their size |dx| + |dy|."""
    height, width = x.shape
    wide = np.pad(x, 1, mode="edge")
    sobel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    dx, dy = np.zeros(x.shape), np.zeros(x.shape)
    for i, j in np.ndindex(x.shape):
        dx[i, j] = (wide[i : i + 3, j : j + 3] * sobel).sum()
        dy[i, j] = (wide[i : i + 3, j : j + 3] * sobel.T).sum()
    size = np.pad(np.abs(dx) + np.abs(dy), 1)
    greatest = np.zeros(x.shape, dtype=bool)
    for i, j in np.ndindex(x.shape):
        here = size[i + 1, j + 1]
        angle = math.degrees(math.atan2(abs(dy[i, j]), abs(dx[i, j])))
        if angle < 22.5:
            greatest[i, j] = here > size[i + 1, j] and here >= size[i + 1, j + 2]
        elif angle > 67.5:
            greatest[i, j] = here > size[i, j + 1] and here >= size[i + 2, j + 1]
        elif dx[i, j] * dy[i, j] > 0:
            greatest[i, j] = here > size[i, j] and here > size[i + 2, j + 2]
        else:
            greatest[i, j] = here > size[i, j + 2] and here > size[i + 2, j]
    size = size[1:-1, 1:-1]
    edges = np.zeros(x.shape, dtype=bool)
    todo = [tuple(place) for place in np.argwhere(greatest & (size > 150))]
    while todo:
        i, j = todo.pop()
        if edges[i, j]:
            continue
        edges[i, j] = True
        for p in range(max(i - 1, 0), min(i + 2, height)):
            for q in range(max(j - 1, 0), min(j + 2, width)):
                if greatest[p, q] and size[p, q] > 50:
                    todo.append((p, q))
    return edges


def slow_distance(marks: NDArray[np.bool_], far: float) -> Floats:
    """The length of king's and knight's moves to the nearest mark, in closed form."""
    result = np.full(marks.shape, far)
    rows, columns = np.indices(marks.shape)
    for p, q in np.argwhere(marks):
        long = np.maximum(abs(rows - p), abs(columns - q))
        short = np.minimum(abs(rows - p), abs(columns - q))
        flat = (long - 2 * short) + 2.1969 * short
        slanted = 1.4 * (2 * short - long) + 2.1969 * (long - short)
        result = np.minimum(result, np.where(2 * short <= long, flat, slanted))
    return result


def slow_mean_of_nine(x: Floats) -> Floats:
    wide = np.pad(x, 1, mode="reflect")
    result = np.empty(x.shape)
    for i, j in np.ndindex(x.shape):
        result[i, j] = wide[i : i + 3, j : j + 3].mean()
    return result


def slow_equalize(x: Floats) -> Floats:
    lowest = (x == x.min()).sum()
    if lowest == x.size:
        return x
    result = np.empty(x.shape)
    for i, j in np.ndindex(x.shape):
        result[i, j] = round(((x <= x[i, j]).sum() - lowest) * 255 / (x.size - lowest))
    return result


def slow_relief(liquid: Floats, size: float) -> Floats:
    distance = slow_distance(slow_edges(liquid), 20 * size) / size
    height = slow_equalize(np.floor(slow_mean_of_nine(distance) + 1e-6))
    wide = np.pad(height, 1, mode="reflect")
    kernel = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
    lit = np.empty(liquid.shape)
    for i, j in np.ndindex(liquid.shape):
        lit[i, j] = np.clip((wide[i : i + 3, j : j + 3] * kernel).sum(), 0, 255)
    return np.floor(slow_mean_of_nine(lit) + 0.5 + 1e-6)


def liquids(num: int, side: int, c: dict[str, float]) -> list[Floats]:
    noise = draws(num).normal(side, side).numpy()
    layers = []
    for n in noise:
        layer = ndimage.gaussian_filter(c["mean"] + c["std"] * n, c["sigma"], mode="nearest")
        layers.append(np.where(layer < c["least"], 0, layer))
    return layers


@pytest.mark.parametrize(("by", "number"), [("severity", 1), ("severity", 2), ("severity", 3),
                                            ("frame", 0), ("frame", 3), ("frame", 25)])  # fmt: skip
def test_water(by: str, number: int) -> None:
    c = dict(level("spatter", by, number).constants)
    images = scenes(3)
    expected = []
    for image, layer in zip(channels_last(images), liquids(3, 32, c), strict=True):
        for _ in range(int(c["drips"])):
            layer = 0.2 * layer + 0.8 * np.pad(layer, ((1, 0), (0, 0)))[:-1]
        whole = np.floor(255 * layer + 1e-6)
        light = whole * slow_relief(whole, 1.0)
        shown = c["opacity"] * light / light.max() if light.max() else light
        expected.append(image + shown[..., None] * np.array([175, 238, 238]))
    wet = water(images, **c, draws=draws(3))
    assert (wet != images).any((1, 2, 3)).any(), "some drops"
    assert far_off(wet, np.stack(expected)) < 0.51


@pytest.mark.parametrize("number", [4, 5])
def test_mud(number: int) -> None:
    c = dict(level("spatter", "severity", number).constants)
    images = scenes(3)
    expected = []
    for image, layer in zip(channels_last(images), liquids(3, 32, c), strict=True):
        cover = (layer > c["least"]).astype(float)
        cover = ndimage.gaussian_filter(cover, c["soft"], mode="nearest")
        cover = np.where(cover < 0.8, 0, cover)[..., None]
        expected.append(image * (1 - cover) + cover * np.array([63, 42, 20]))
    assert far_off(mud(images, **c, draws=draws(3)), np.stack(expected)) < 0.51


def test_a_dry_lens_changes_nothing() -> None:
    images = scenes(2)
    c = {"mean": 0.0, "std": 0.01, "sigma": 1.0, "least": 0.7}
    assert torch.equal(water(images, **c, opacity=0.5, drips=0, draws=draws(2)), images)
    assert torch.equal(mud(images, **c, soft=0.6, draws=draws(2)), images)


def test_weak_edges_live_by_strong_ones() -> None:
    """A step from top to bottom is an edge all along as soon as it is high enough at the top."""
    from cptools.core.perturbations.spatter import _edges

    low = np.zeros((9, 9))
    low[:, 5:] = 20
    high = low.copy()
    high[:4, 5:] = 100
    found = _edges(torch.from_numpy(np.stack([low, high])), low=50, high=150).numpy()
    assert not found[0].any()
    assert found[1].any(1).all()
    assert np.array_equal(found[1], slow_edges(high))
