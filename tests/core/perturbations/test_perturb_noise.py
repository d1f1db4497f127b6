"""Noise, value by value."""

import numpy as np
import pytest
import torch
from scenes import draws, scenes
from torch import Tensor

from cptools.core.perturbations.draws import Draws
from cptools.core.perturbations.noise import (
    gaussian_noise,
    impulse_noise,
    shot_noise,
    speckle_noise,
)


def rounded(value: float) -> int:
    return min(max(int(value + 0.5), 0), 255)


@pytest.mark.parametrize("sigma", [0.02, 0.1])
def test_gaussian_and_speckle(sigma: float) -> None:
    images = scenes(2, 5, 6)
    normal = draws(2).normal(3, 5, 6)
    noisy = gaussian_noise(images, sigma=sigma, draws=draws(2))
    speckled = speckle_noise(images, sigma=sigma, draws=draws(2))
    for place in np.ndindex(*images.shape):
        x, n = images[place].item() / 255, normal[place].item()
        assert noisy[place] == rounded(255 * (x + sigma * n))
        assert speckled[place] == rounded(255 * (x + x * sigma * n))


@pytest.mark.parametrize("photons", [50, 700])
def test_shot_noise_inverts_poisson(photons: int) -> None:
    poisson = pytest.importorskip("scipy.stats").poisson
    images = torch.arange(256, dtype=torch.uint8).repeat(2 * 3).view(2, 3, 1, 256)
    noisy = shot_noise(images, photons=photons, draws=draws(2))
    uniform = draws(2).uniform(3, 1, 256).numpy()
    counts = poisson.ppf(uniform, images.numpy() / 255 * photons)
    expected = np.floor(np.clip(counts / photons, 0, 1) * 255 + 0.5 + 1e-6)
    assert np.array_equal(noisy.numpy(), expected.astype(np.uint8))


def test_shot_noise_draws_up_to_the_last_count() -> None:
    class Last(Draws):
        def uniform(self, *shape: int) -> Tensor:
            return torch.full((2, *shape), 1 - 2**-53, dtype=torch.float64)

    images = torch.arange(256, dtype=torch.uint8).repeat(2 * 3).view(2, 3, 1, 256)
    for photons in (700, 500, 50):
        noisy = shot_noise(images, photons=photons, draws=Last(torch.arange(2)))
        assert (noisy >= images).all()


def test_shot_noise_has_the_variance_of_photons() -> None:
    images = torch.full((40, 3, 32, 32), 102, dtype=torch.uint8)
    values = shot_noise(images, photons=100, draws=draws(40)).double() / 255
    assert values.mean() == pytest.approx(0.4, abs=2e-3)
    assert values.var() == pytest.approx(0.4 / 100, rel=0.03)


def test_impulse_noise() -> None:
    images = scenes(30)
    noisy = impulse_noise(images, amount=0.07, draws=draws(30))
    uniform = draws(30).uniform(3, 32, 32)
    for place in [(n, c, i, 3) for n in range(30) for c in range(3) for i in range(32)]:
        u = uniform[place]
        expected = 0 if u < 0.035 else 255 if u < 0.07 else images[place]
        assert noisy[place] == expected
    middle = (images > 0) & (images < 255)
    assert (noisy == 0)[middle].double().mean() == pytest.approx(0.035, abs=0.002)
    assert (noisy == 255)[middle].double().mean() == pytest.approx(0.035, abs=0.002)
    apart = (noisy != images).double()
    both = (apart[:, 0] * apart[:, 1]).mean()
    assert both < 3 * 0.07**2, "channels are hit apart"
