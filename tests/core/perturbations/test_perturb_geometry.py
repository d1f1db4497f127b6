"""Where pixels come from, against Pillow through torchvision, SciPy, and loops."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scenes import channels_last, draws, far_off, scenes
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import affine

from cptools.core.perturbations import PERTURBATIONS
from cptools.core.perturbations.geometry import (
    elastic_transform,
    rotate,
    scale,
    shear,
    tilt,
    translate,
)

Floats = NDArray[np.float64]
SIZES = [(32, 32), (20, 48)]


def by_pillow(images: torch.Tensor, **given: object) -> Floats:
    settings = {"angle": 0, "translate": [0, 0], "scale": 1.0, "shear": [0, 0]} | given
    turned = [
        affine(Image.fromarray(x), interpolation=InterpolationMode.BILINEAR, **settings)
        for x in channels_last(images)
    ]
    return np.stack([np.asarray(x, dtype=float) for x in turned])


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("frame", [0, 4, 15, 16, 30])
def test_rotate_scale_shear_are_pillows(frame: int, height: int, width: int) -> None:
    images = scenes(3, height, width)
    degrees, factor = frame - 15, (2 * frame + 70) / 100
    assert far_off(rotate(images, degrees=degrees), by_pillow(images, angle=degrees)) <= 1
    assert far_off(shear(images, degrees=degrees), by_pillow(images, shear=[degrees, 0])) <= 1
    assert far_off(scale(images, factor=factor), by_pillow(images, scale=factor)) <= 1


@pytest.mark.parametrize("frame", range(16))
def test_translate(frame: int) -> None:
    level = PERTURBATIONS["translate"].frames[frame]
    assert level is not None
    shift = frame - 7
    images = scenes(2)
    expected = np.zeros((2, 32, 32, 3))
    for column in range(32):
        if 0 <= column - shift < 32:
            expected[:, :, column] = channels_last(images)[:, :, column - shift]
    assert far_off(translate(images, **level.constants), expected) == 0


def test_translate_counts_in_32nds_of_the_shorter_side() -> None:
    images = scenes(1, 64, 96)
    assert torch.equal(translate(images, pixels=3)[..., 6:], images[..., :-6])


def slow_bilinear(image: Floats, row: float, column: float) -> Floats:
    """Of [H, W, C], black outside."""
    height, width, channels = image.shape
    i, j = math.floor(row), math.floor(column)
    result = np.zeros(channels)
    for di in (0, 1):
        for dj in (0, 1):
            weight = (1 - abs(row - i - di)) * (1 - abs(column - j - dj))
            if 0 <= i + di < height and 0 <= j + dj < width:
                result += weight * image[i + di, j + dj]
    return result


@pytest.mark.parametrize(("height", "width"), [(32, 32), (32, 40)])
@pytest.mark.parametrize("frame", [0, 11, 15, 30])
def test_tilt_by_its_matrices(frame: int, height: int, width: int) -> None:
    angle = math.radians(0.75 * (frame - 15))
    cos, sin, far = math.cos(angle), math.sin(angle), math.sqrt(width**2 + height**2)
    flat = np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1], [0, 0, 1]])
    about_x = np.array([[1, 0, 0, 0], [0, cos, -sin, 0], [0, sin, cos, 0], [0, 0, 0, 1]])
    about_y = np.array([[cos, 0, -sin, 0], [0, 1, 0, 0], [sin, 0, cos, 0], [0, 0, 0, 1]])
    away = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, far], [0, 0, 0, 1]])
    seen = np.array([[far, 0, width / 2, 0], [0, far, height / 2, 0], [0, 0, 1, 0]])
    forward = seen @ away @ about_x @ about_y @ flat
    images = scenes(1, height, width)
    expected = np.empty((1, height, width, 3))
    for row in range(height):
        for column in range(width):
            x, y, z = np.linalg.solve(forward, [column, row, 1])
            picture = channels_last(images)[0].astype(float)
            expected[0, row, column] = slow_bilinear(picture, y / z, x / z)
    assert far_off(tilt(images, degrees=0.75 * (frame - 15)), expected) < 0.51


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_elastic_transform(number: int) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    level = PERTURBATIONS["elastic_transform"].severities[number - 1]
    assert level is not None
    strength, sigma, corner = (32 * level.constants[k] for k in ("strength", "sigma", "corner"))
    images = scenes(2)
    warped = elastic_transform(images, **level.constants, draws=draws(2))
    numbers = draws(2)
    moved = numbers.between(-corner, corner, 3, 2).numpy()
    noise = numbers.between(-1, 1, 2, 32, 32).numpy()
    corners = np.array([[26.0, 26], [26, 6], [6, 6]])
    rows, columns = np.mgrid[0:32, 0:32].astype(float)
    for n, image in enumerate(channels_last(images).astype(float)):
        taken = np.column_stack([corners + moved[n], np.ones(3)])
        back = np.linalg.solve(taken, corners).T  # from where a corner went to where it was
        x = back[0, 0] * columns + back[0, 1] * rows + back[0, 2]
        y = back[1, 0] * columns + back[1, 1] * rows + back[1, 2]
        channels = [ndimage.map_coordinates(image[..., c], (y, x), order=1, mode="mirror")
                    for c in range(3)]  # fmt: skip
        along, down = (
            strength * (ndimage.gaussian_filter(z, sigma, mode="reflect", truncate=3) if sigma
                        else z)
            for z in noise[n]
        )  # fmt: skip
        expected = [ndimage.map_coordinates(c, (rows + down, columns + along), order=1,
                                            mode="reflect") for c in channels]  # fmt: skip
        assert far_off(warped[n : n + 1], np.stack(expected, -1)[None]) < 0.51


def test_elastic_displacements_grow_with_the_picture() -> None:
    """Ramps show how far pixels wander: as far in a picture's own measure at any size."""
    wander = []
    for side in (32, 128):
        ramp = torch.linspace(0, 255, side).round().to(torch.uint8).expand(40, 3, side, side)
        warped = elastic_transform(
            ramp.contiguous(), strength=0.1, sigma=0.04, corner=0.0, draws=draws(40)
        )
        inner = slice(side // 8, -side // 8)
        difference = warped.double() - ramp
        wander.append(difference[..., inner, inner].std().item())
    assert wander[1] == pytest.approx(wander[0], rel=0.1)
    assert wander[0] > 2
