"""UEraser's augmentations: the fractals a point at a time, operations by Pillow, what is drawn."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from cptools.core.defenses import ueraser as module
from cptools.core.defenses.ueraser import (
    OPERATIONS,
    apply_operation,
    diamond_square,
    trivial_augment,
    ueraser,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(num=40, size=16):
    return torch.randint(0, 256, (num, 3, size, size), generator=generator(3)).to(torch.uint8)


def slow_fractal(roughness, depth):
    """The definition, point by point; a grid of noise is drawn at each level."""
    rng = generator()
    grid = torch.rand(1, 2, 2, generator=rng)[0].tolist()
    for level in range(1, depth + 1):
        side, s = 2 * len(grid) - 1, roughness**level
        noise = torch.rand(1, side, side, generator=rng)[0].tolist()
        new = [[0.0] * side for _ in range(side)]
        for i in range(0, side, 2):
            for j in range(0, side, 2):
                new[i][j] = grid[i // 2][j // 2]

        def point(i, j, steps, new=new, noise=noise, s=s, side=side):
            near = [(i + di, j + dj) for di, dj in steps]
            values = [new[a][b] for a, b in near if 0 <= a < side and 0 <= b < side]
            new[i][j] = (1 - s) * sum(values) / len(values) + s * noise[i][j]

        for i in range(1, side, 2):
            for j in range(1, side, 2):
                point(i, j, [(-1, -1), (-1, 1), (1, -1), (1, 1)])
        for i in range(side):
            for j in range((i + 1) % 2, side, 2):
                point(i, j, [(-1, 0), (1, 0), (0, -1), (0, 1)])
        grid = new
    return torch.tensor(grid)


@pytest.mark.parametrize("roughness", [0.0, 0.4, 0.7])
def test_a_fractal_is_that_of_the_definition(roughness):
    found = diamond_square(torch.tensor([roughness]), 3, generator())
    torch.testing.assert_close(found[0], slow_fractal(roughness, 3))
    assert found.shape == (1, 9, 9)
    assert 0 <= found.min() <= found.max() <= 1


@pytest.mark.parametrize(
    ("name", "strength", "slow"),
    [
        ("identity", 0.3, lambda image: image),
        ("autocontrast", 0.3, ImageOps.autocontrast),
        ("equalize", 0.3, ImageOps.equalize),
        ("posterize", 0.5, lambda image: ImageOps.posterize(image, 6)),
        ("solarize", 100 / 255, lambda image: ImageOps.solarize(image, 100)),
        ("rotate", 0.75, lambda image: image.rotate(-15)),
        (
            "translate_x",
            0.75,
            lambda image: image.transform((16, 16), Image.Transform.AFFINE, (1, 0, -4, 0, 1, 0)),
        ),
        (
            "shear_x",
            1.0,
            lambda image: image.transform(
                (16, 16), Image.Transform.AFFINE, (1, 0.3, -0.3 * 8, 0, 1, 0)
            ),
        ),
    ],
)
def test_an_operation_is_pillows(name, strength, slow):
    images = pictures(3)
    found = apply_operation(images, name, strength)
    for image, result in zip(images, found, strict=True):
        wanted = np.asarray(slow(Image.fromarray(image.permute(1, 2, 0).numpy())))
        differ = np.abs(wanted.astype(int) - result.permute(1, 2, 0).numpy()).max(2) > 1
        assert differ.mean() < 0.03, "all but pixels at the edge of a cell"


def test_half_the_way_is_the_image_itself():
    images = pictures(2)
    for name in (
        "rotate",
        "shear_x",
        "shear_y",
        "translate_x",
        "translate_y",
        "color",
        "sharpness",
    ):
        assert (apply_operation(images, name, 0.5).int() - images.int()).abs().max() <= 1


def test_every_image_has_an_operation_of_its_own(monkeypatch):
    seen = {}

    def mark(images, name, strength):
        seen[name] = len(images)
        return images

    monkeypatch.setattr(module, "apply_operation", mark)
    trivial_augment(pictures(700, 4), generator())
    assert seen.keys() == set(OPERATIONS)
    assert all(20 < num < 90 for num in seen.values())  # 50 on average


def test_each_of_three_is_drawn_half_the_time(monkeypatch):
    """Of a gray image: a plasma, contrast does nothing to mid gray; of a red one the channels."""
    monkeypatch.setattr(module, "trivial_augment", lambda images, _: images)
    gray = torch.full((600, 3, 8, 8), 128, dtype=torch.uint8)
    changed = (ueraser(gray, intensity=0.5, generator=generator()).int() - 128).abs().flatten(
        1
    ).amax(1) > 3
    assert 0.42 < changed.float().mean() < 0.58
    still = ueraser(gray, intensity=0.0, generator=generator())
    assert (still.int() - 128).abs().max() <= 2, "contrast turns about mid gray, which is 127.5"
    red = torch.zeros(600, 3, 8, 8, dtype=torch.uint8)
    red[:, 0] = 255
    moved = ueraser(red, intensity=0.0, generator=generator()).float().mean((2, 3)).argmax(1) != 0
    assert 0.25 < moved.float().mean() < 0.42, "1/2 times 2/3"


def test_a_smaller_plasma_moves_less():
    gray = torch.full((100, 3, 8, 8), 128, dtype=torch.uint8)

    def moved(intensity):
        found = ueraser(gray, intensity=intensity, generator=generator())
        return (found.float() - 128).abs().mean()

    assert moved(0.1) < moved(1.0)
