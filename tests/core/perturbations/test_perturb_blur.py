"""Blurs, against SciPy, Pillow, and loops over pixels."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from scenes import channels_last, draws, far_off, scenes, slow_trail, slow_zoom
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import affine

from cptools.core.perturbations import PERTURBATIONS
from cptools.core.perturbations.blur import (
    defocus_blur,
    gaussian_blur,
    glass_blur,
    motion_blur,
    zoom_blur,
    zoom_film,
)
from cptools.core.perturbations.pixels import BORDERS, smooth, smooth_noise

ndimage = pytest.importorskip("scipy.ndimage")


@pytest.mark.parametrize(("height", "width"), [(32, 32), (9, 14), (1, 1), (40, 3)])
@pytest.mark.parametrize(("border", "mode"), [("nearest", "nearest"), ("mirror", "mirror"),
                                              ("twin", "reflect")])  # fmt: skip
def test_smoothing_is_scipys(height: int, width: int, border: str, mode: str) -> None:
    x = scenes(2, height, width).double()
    for sigma, reach in [(0.05, 4), (0.4, 4), (1.0, 7), (6.4, 3)]:
        expected = ndimage.gaussian_filter(x.numpy(), (0, 0, sigma, sigma), mode=mode,
                                           truncate=reach)  # fmt: skip
        smoothed = smooth(x, sigma, reach=reach, border=border).numpy()
        assert smoothed == pytest.approx(expected, abs=1e-9)
    assert set(BORDERS) == {"nearest", "mirror", "twin"}


@pytest.mark.parametrize(("sigma", "reach"), [(0.4, 4), (1.0, 4), (0.3, 7), (0.75, 7)])
@pytest.mark.parametrize("side", [32, 64])
def test_gaussian_blur(sigma: float, reach: float, side: int) -> None:
    images = scenes(2, side, side)
    pixels = sigma * side / 32
    expected = ndimage.gaussian_filter(
        channels_last(images).astype(float), (0, pixels, pixels, 0), mode="nearest", truncate=reach
    )
    assert far_off(gaussian_blur(images, sigma=sigma, reach=reach), expected) < 0.51


def slow_defocus(image: np.ndarray, radius: float, sigma: float) -> np.ndarray:
    """A disk of 17 x 17 whole pixels, smoothed by 3 x 3 taps; mirrored at the outermost pixels."""
    inside = np.array([[i**2 + j**2 <= radius**2 for j in range(-8, 9)] for i in range(-8, 9)])
    disk = inside / inside.sum()
    taps = np.exp(-np.array([1.0, 0, 1]) / (2 * sigma**2))
    taps /= taps.sum()
    kernel = np.zeros((17, 17))
    for i in range(1, 16):
        for j in range(1, 16):
            kernel[i, j] = taps @ disk[i - 1 : i + 2, j - 1 : j + 2] @ taps
    padded = np.pad(image, ((8, 8), (8, 8), (0, 0)), mode="reflect")
    result = np.zeros(image.shape)
    for i in range(image.shape[0]):
        for j in range(image.shape[1]):
            window = padded[i : i + 17, j : j + 17]
            result[i, j] = (window * kernel[:, :, None]).sum((0, 1))
    return result


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_defocus_blur(number: int) -> None:
    level = PERTURBATIONS["defocus_blur"].severities[number - 1]
    assert level is not None
    images = scenes(2)
    expected = np.stack([slow_defocus(x, **level.constants) for x in channels_last(images)])
    assert far_off(defocus_blur(images, **level.constants), expected) < 0.51


def test_defocus_grows_with_the_picture() -> None:
    """At 224 pixels the disk has a radius of 10.5 and its smoothing 15 taps."""
    point = torch.zeros(1, 3, 224, 224, dtype=torch.uint8)
    point[:, :, 112, 112] = 255
    point[:, :, 100:125, 100:125] = 255
    blurred = defocus_blur(point, radius=1.5, sigma=0.1)
    assert (blurred[0, 0, 112] > 0).sum() == pytest.approx(25 + 2 * 10, abs=2)


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_glass_blur_is_the_scripts_loop(number: int) -> None:
    level = PERTURBATIONS["glass_blur"].severities[number - 1]
    assert level is not None
    sigma, delta, times = (level.constants[name] for name in ("sigma", "delta", "times"))
    images = scenes(2)
    blurred = glass_blur(images, **level.constants, draws=draws(2))
    numbers = draws(2)
    taken = [numbers.integers(-1, 1, 2, 32, 32).numpy() for _ in range(int(times))]
    for n, image in enumerate(channels_last(images)):
        x = ndimage.gaussian_filter(image / 255, (sigma, sigma, 0), mode="nearest")
        for offsets in taken:
            for h in range(32 - int(delta), int(delta), -1):
                for w in range(32 - int(delta), int(delta), -1):
                    i, j = h + offsets[n, 0, h, w], w + offsets[n, 1, h, w]
                    x[h, w], x[i, j] = x[i, j], x[h, w]  # meant as a swap, a copy by numpy's views
        expected = 255 * ndimage.gaussian_filter(x, (sigma, sigma, 0), mode="nearest")
        assert np.abs(channels_last(blurred)[n] - expected).max() < 0.51


def test_glass_blur_keeps_the_border_and_takes_from_above_and_left() -> None:
    images = torch.arange(64 * 64).view(1, 1, 64, 64) % 251
    images = images.expand(-1, 3, -1, -1).to(torch.uint8)
    blurred = glass_blur(images, sigma=0.0, delta=1, times=1, draws=draws(1))
    border = torch.ones(64, 64, dtype=torch.bool)
    border[3:63, 3:63] = False
    assert torch.equal(blurred[..., border], images[..., border])
    assert not torch.equal(blurred, images)


@pytest.mark.parametrize("number", [1, 5])
def test_motion_blur_turns_at_random(number: int) -> None:
    level = PERTURBATIONS["motion_blur"].severities[number - 1]
    assert level is not None
    images = scenes(2)
    angles = draws(2).between(-45, 45).tolist()
    radius, sigma = level.constants["radius"], level.constants["sigma"]
    expected = [slow_trail(x.astype(float), radius, sigma, a)
                for x, a in zip(channels_last(images), angles, strict=True)]  # fmt: skip
    blurred = motion_blur(images, **level.constants, draws=draws(2))
    assert far_off(blurred, np.stack(expected)) < 0.51


@pytest.mark.parametrize("frame", [0, 7, 10, 20])
def test_motion_blur_turns_in_a_film(frame: int) -> None:
    level = PERTURBATIONS["motion_blur"].frames[frame]
    assert level is not None
    images = scenes(1, 12, 9)
    scaled = 9 / 32
    expected = slow_trail(channels_last(images)[0].astype(float), 6 * scaled, 1.8 * scaled,
                          9 * (frame - 20))  # fmt: skip
    blurred = motion_blur(images, **level.constants, draws=draws(1))
    assert far_off(blurred, expected[None]) < 0.51


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_zoom_blur(number: int) -> None:
    level = PERTURBATIONS["zoom_blur"].severities[number - 1]
    assert level is not None
    factors = np.arange(1, [1.06, 1.11, 1.16, 1.21, 1.26][number - 1], 0.01)
    images = scenes(2)
    expected = []
    for image in channels_last(images).astype(float):
        zoomed = sum(slow_zoom(image, factor) for factor in factors)
        expected.append((image + zoomed) / (len(factors) + 1))
    assert far_off(zoom_blur(images, **level.constants), np.stack(expected)) < 0.51


@pytest.mark.parametrize("frame", [0, 1, 12, 30])
def test_zoom_film(frame: int) -> None:
    level = PERTURBATIONS["zoom_blur"].frames[frame]
    assert level is not None
    images = scenes(2, 32, 24)
    expected = []
    for image in channels_last(images):
        shots = [image.astype(float)]
        for k in range(1, frame + 1):
            shot = affine(Image.fromarray(image), 0, [0, 0], 1 + 0.004 * k, [0, 0],
                          interpolation=InterpolationMode.BILINEAR)  # fmt: skip
            shots.append(np.asarray(shot, dtype=float))
        expected.append(np.mean(shots, axis=0))
    assert far_off(zoom_film(images, **level.constants), np.stack(expected)) < 1.51  # Pillow rounds


@pytest.mark.parametrize("size", [0.5, 1.0, 3.0])
def test_smoothed_noise_keeps_its_strength(size: float) -> None:
    side = int(32 * size)
    noise = draws(400).normal(side, side)
    reference = smooth(draws(400).normal(32, 32), 1.75)[:, 8:24, 8:24].std().item()
    middle = slice(side // 4, 3 * side // 4)
    smoothed = smooth_noise(noise, 1.75, size)[:, middle, middle]
    assert smoothed.std().item() == pytest.approx(reference, rel=0.1)
    assert math.isfinite(smooth_noise(noise[:, :1, :1], 1.75, 1 / 32).sum().item())
