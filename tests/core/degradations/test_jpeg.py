"""JPEG against Pillow's, and its gradient against finite differences."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from cptools.core.degradations import jpeg as module
from cptools.core.degradations.jpeg import jpeg
from cptools.core.random import stream
from cptools.core.sources.shapes import shapes


def pictures(num: int, height: int, width: int) -> torch.Tensor:
    """uint8 images with noise of 8 levels."""
    images = torch.from_numpy(shapes(train=num, test=1, contrast=1.0, size=max(height, width))[0])
    noise = torch.randint(-8, 9, images.shape, generator=stream(0))
    return (images + noise).clamp(0, 255).to(torch.uint8)[:, :, :height, :width].contiguous()


def by_pillow(images: torch.Tensor, quality: int) -> torch.Tensor:
    """What a file of each image decodes to."""
    decoded = []
    for pixels in images.permute(0, 2, 3, 1).numpy():
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=quality)
        decoded.append(np.asarray(Image.open(file)).transpose(2, 0, 1))
    return torch.from_numpy(np.stack(decoded))


@pytest.mark.parametrize("quality", [10, 50, 75, 95])
@pytest.mark.parametrize(
    ("height", "width"), [(32, 32), (64, 64), (37, 37), (28, 50), (50, 28), (9, 8)]
)
def test_forwards_it_is_pillows(height: int, width: int, quality: int) -> None:
    images = pictures(40, height, width)
    got = jpeg(images.double() / 255, quality) * 255
    away = (got - by_pillow(images, quality)).abs()
    assert torch.equal(got, got.round())
    assert away.mean() < 1
    # Where halved color falls on a tie, one coefficient is another multiple of its step.
    assert away.max() <= 32
    assert away.mean() < (got - images).abs().mean() / 4


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_images_too_small_for_a_triangle_filter(size: int) -> None:
    images = torch.randint(0, 256, (50, 3, size, size), generator=stream(1), dtype=torch.uint8)
    got = jpeg(images.double() / 255, 95) * 255
    assert (got - by_pillow(images, 95)).abs().mean() < 1.5


def test_without_rounding_the_gradient_is_that_of_finite_differences(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "straight_round", lambda x: x)
    x = torch.rand(1, 3, 7, 6, generator=stream(2), dtype=torch.float64) * 0.6 + 0.2
    assert torch.autograd.gradcheck(lambda x: jpeg(x, 75), x.requires_grad_())


def test_rounding_passes_the_gradient_straight_through(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.rand(4, 3, 16, 12, generator=stream(3), dtype=torch.float64) * 0.4 + 0.3
    weights = torch.randn(x.shape, generator=stream(4), dtype=torch.float64)

    def gradient() -> torch.Tensor:
        leaf = x.clone().requires_grad_()
        y = jpeg(leaf, 90)
        assert float(y.detach().min()) > 0
        assert float(y.detach().max()) < 1
        return torch.autograd.grad((y * weights).sum(), leaf)[0]

    rounded = gradient()
    monkeypatch.setattr(module, "straight_round", lambda x: x)
    torch.testing.assert_close(rounded, gradient())


def test_single_precision_rounds_as_double() -> None:
    x = pictures(8, 64, 64).double() / 255
    away = (jpeg(x.float(), 75).double() - jpeg(x, 75)).abs() * 255
    assert away.mean() < 0.1
