"""Rescaling and blur against Pillow and SciPy."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from cptools.core.degradations.linear import blur, resize
from cptools.core.random import stream


def images(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=stream(0), dtype=torch.float64)


@pytest.mark.parametrize(
    ("height", "width", "factor", "small"),
    [
        (32, 32, 0.5, (16, 16)),
        (32, 32, 0.9, (29, 29)),
        (33, 20, 0.3, (10, 6)),
        (8, 8, 0.05, (1, 1)),
    ],
)
def test_there_and_back_as_pillow(
    height: int, width: int, factor: float, small: tuple[int, int]
) -> None:
    x = images(2, 3, height, width)
    got = resize(x, factor).numpy()
    bilinear = Image.Resampling.BILINEAR
    planes = x.flatten(0, 1).float().numpy()
    for plane, result in zip(planes, got.reshape(-1, height, width), strict=True):
        there = Image.fromarray(plane).resize(small[::-1], bilinear)
        np.testing.assert_allclose(result, there.resize((width, height), bilinear), atol=1e-5)


@pytest.mark.parametrize(("sigma", "reach"), [(0.5, 2), (1.0, 3), (2.5, 8)])
def test_blur_is_a_gaussian_mirrored_at_the_edges(sigma: float, reach: int) -> None:
    x = images(2, 3, 12, 9)
    expected = gaussian_filter(
        x.numpy(), (0, 0, sigma, sigma), mode="mirror", radius=(0, 0, reach, reach)
    )
    np.testing.assert_allclose(blur(x, sigma).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize(("degrade", "number"), [(resize, 0.5), (blur, 1.5)])
def test_gradients_are_those_of_finite_differences(
    degrade: Callable[[torch.Tensor, float], torch.Tensor], number: float
) -> None:
    x = images(1, 3, 6, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: degrade(x, number), x)


@pytest.mark.parametrize(("degrade", "number"), [(resize, 0.5), (blur, 1.5)])
def test_what_is_constant_stays(
    degrade: Callable[[torch.Tensor, float], torch.Tensor], number: float
) -> None:
    x = torch.full((2, 3, 11, 32), 0.3)
    torch.testing.assert_close(degrade(x, number), x)
