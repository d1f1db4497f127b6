"""Colors against the standard library's colorsys, storage against Pillow."""

import colorsys
import io

import numpy as np
import pytest
from PIL import Image
from scenes import channels_last, far_off, scenes

from cptools.core.perturbations import PERTURBATIONS
from cptools.core.perturbations.color import brightness, contrast, saturate
from cptools.core.perturbations.digital import jpeg_compression, pixelate


def by_pixel(images: np.ndarray, change) -> np.ndarray:  # type: ignore[no-untyped-def]
    result = np.empty(images.shape)
    for place in np.ndindex(images.shape[:3]):
        hsv = colorsys.rgb_to_hsv(*(images[place] / 255))
        result[place] = 255 * np.array(colorsys.hsv_to_rgb(*change(*hsv)))
    return result


@pytest.mark.parametrize("shift", [-0.225, -0.015, 0.0, 0.05, 0.3])
def test_brightness(shift: float) -> None:
    images = scenes(2)
    expected = by_pixel(channels_last(images),
                        lambda h, s, v: (h, s, min(max(v + shift, 0), 1)))  # fmt: skip
    assert far_off(brightness(images, shift=shift), expected) < 0.51


@pytest.mark.parametrize(("factor", "shift"), [(0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)])
def test_saturate(factor: float, shift: float) -> None:
    images = scenes(2)
    assert (images.amax(1) == images.amin(1)).any(), "gray is among them"
    expected = by_pixel(channels_last(images),
                        lambda h, s, v: (h, min(s * factor + shift, 1), v))  # fmt: skip
    assert far_off(saturate(images, factor=factor, shift=shift), expected) < 0.51


@pytest.mark.parametrize("factor", [0.75, 0.15])
def test_contrast(factor: float) -> None:
    images = scenes(2, 8, 11)
    expected = []
    for image in channels_last(images).astype(float):
        mean = np.array([image[..., c].mean() for c in range(3)])
        expected.append((image - mean) * factor + mean)
    assert far_off(contrast(images, factor=factor), np.stack(expected)) < 0.51


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (17, 40)])
def test_pixelate(number: int, height: int, width: int) -> None:
    level = PERTURBATIONS["pixelate"].severities[number - 1]
    assert level is not None
    share = level.constants["share"]
    images = scenes(3, height, width)
    expected = []
    for image in channels_last(images):
        small = (int(width * share), int(height * share))
        shrunk = Image.fromarray(image).resize(small, Image.Resampling.BOX)
        expected.append(np.asarray(shrunk.resize((width, height), Image.Resampling.BOX)))
    assert far_off(pixelate(images, share=share), np.stack(expected)) < 1.01  # Pillow rounds twice


def test_jpeg() -> None:
    images = scenes(3)
    expected = []
    for image in channels_last(images):
        with io.BytesIO() as file:
            Image.fromarray(image).save(file, "JPEG", quality=58)
            expected.append(np.asarray(Image.open(file)))
    assert far_off(jpeg_compression(images, quality=58), np.stack(expected)) == 0
