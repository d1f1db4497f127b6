"""The crop against Pillow, its parameters against torchvision's, and its algebra."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pil_views import from_pil, pictures, pil_crop, to_pil
from torch import Tensor
from torchvision.transforms import RandomResizedCrop

from cptools.core.views import ViewParams, Views
from cptools.core.views.geometry import resize_matrices, resized_crop


def boxes_of(params: ViewParams) -> Tensor:
    return torch.stack((params.top, params.left, params.height, params.width, params.flip))


def draw(num: int, height: int, width: int, seed: int = 0, **options: object) -> ViewParams:
    views = Views(32, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), **options)  # type: ignore[arg-type]
    return views.draw(num, height, width, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("height", "width", "size", "scale"),
    [
        (32, 32, 32, (0.2, 1.0)),
        (96, 96, 32, (0.2, 1.0)),
        (48, 40, 32, (0.05, 1.0)),
        (17, 64, 24, (0.2, 1.0)),
        (8, 9, 32, (0.01, 0.3)),
    ],
)
def test_crop_equals_pillow_within_its_two_roundings(
    height: int, width: int, size: int, scale: tuple[float, float]
) -> None:
    images = pictures(60, height, width, seed=1)
    params = draw(60, height, width, scale=scale)
    ours = 255 * resized_crop(images.double() / 255, boxes_of(params), size=size)
    pil = torch.stack(
        [from_pil(pil_crop(to_pil(image), params, i, size)) for i, image in enumerate(images)]
    )
    error = (ours - pil).abs()
    assert error.max() < 1.02  # half a level for each of PIL's two passes, and fixed point
    assert error.mean() < 0.4
    assert (ours.round() - pil).abs().max() <= 1


@given(
    source=st.integers(1, 40),
    size=st.integers(1, 40),
    data=st.data(),
    flip=st.booleans(),
)
@settings(max_examples=50, deadline=None, derandomize=True)
def test_weights_are_averages_inside_the_crop(
    source: int, size: int, data: st.DataObject, flip: bool
) -> None:
    length = data.draw(st.integers(1, source))
    start = data.draw(st.integers(0, source - length))
    weights = resize_matrices(
        torch.tensor([start]),
        torch.tensor([length]),
        torch.tensor([flip]),
        source=source,
        size=size,
    )[0]
    assert weights.shape == (size, source)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(size))
    assert (weights[:, :start] == 0).all()
    assert (weights[:, start + length :] == 0).all()


def test_the_whole_image_is_itself_and_flipping_twice_is_identity() -> None:
    x = torch.rand(3, 3, 12, 12, dtype=torch.float64)
    boxes = torch.tensor([[0, 0, 12, 12, 0]] * 3).t()
    mirrored = torch.tensor([[0, 0, 12, 12, 1]] * 3).t()
    torch.testing.assert_close(resized_crop(x, boxes, size=12), x, rtol=0, atol=1e-6)
    once = resized_crop(x, mirrored, size=12)
    torch.testing.assert_close(once, x.flip(3), rtol=0, atol=1e-6)
    torch.testing.assert_close(resized_crop(once, mirrored, size=12), x, rtol=0, atol=1e-6)


def test_a_flipped_crop_is_the_mirrored_crop() -> None:
    x = torch.rand(20, 3, 20, 24, dtype=torch.float64)
    boxes = boxes_of(draw(20, 20, 24))
    boxes[4] = 0
    plain = resized_crop(x, boxes, size=16)
    boxes[4] = 1
    torch.testing.assert_close(resized_crop(x, boxes, size=16), plain.flip(3), rtol=0, atol=1e-6)


def test_gradient_of_the_crop() -> None:
    x = torch.rand(3, 2, 6, 7, dtype=torch.float64, requires_grad=True)
    boxes = boxes_of(draw(3, 6, 7, seed=3))
    assert torch.autograd.gradcheck(lambda y: resized_crop(y, boxes, size=5), (x,))


def ks(a: np.ndarray, b: np.ndarray) -> float:
    """The largest distance of two empirical distribution functions."""
    points = np.union1d(a, b)
    cdf = [np.searchsorted(np.sort(v), points, side="right") / len(v) for v in (a, b)]
    return float(np.abs(cdf[0] - cdf[1]).max())


@pytest.mark.parametrize(
    ("height", "width", "scale", "ratio"),
    [
        (32, 32, (0.2, 1.0), (3 / 4, 4 / 3)),
        (24, 64, (0.08, 1.0), (3 / 4, 4 / 3)),
        (64, 24, (0.5, 1.0), (3 / 4, 4 / 3)),  # often no try fits
        (32, 32, (0.95, 1.0), (0.5, 0.7)),  # no try ever fits
    ],
)
def test_boxes_are_distributed_as_torchvisions(
    height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> None:
    num = 4000
    params = draw(num, height, width, seed=5, scale=scale, ratio=ratio)
    ours = torch.stack((params.top, params.left, params.height, params.width), 1).double().numpy()
    image = torch.zeros(3, height, width)
    with torch.random.fork_rng():
        torch.manual_seed(6)
        theirs = np.array(
            [RandomResizedCrop.get_params(image, list(scale), list(ratio)) for _ in range(num)],
            dtype=np.float64,
        )
    bound = 1.95 * np.sqrt(2 / num)  # Kolmogorov-Smirnov at 0.1 percent; discrete is milder
    for directions in ([1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [2, 1, 1, -1]):
        assert ks(ours @ directions, theirs @ directions) < bound
    assert (params.top >= 0).all()
    assert (params.left >= 0).all()
    assert (params.top + params.height <= height).all()
    assert (params.left + params.width <= width).all()


def test_the_central_crop_where_nothing_fits_is_torchvisions() -> None:
    for height, width in ((32, 32), (10, 64), (64, 10)):
        options = {"scale": (2.0, 3.0), "ratio": (3 / 4, 4 / 3)}  # larger than the image
        params = draw(2, height, width, **options)
        theirs = RandomResizedCrop.get_params(
            torch.zeros(3, height, width), list(options["scale"]), list(options["ratio"])
        )
        for values, expected in zip(boxes_of(params)[:4], theirs, strict=True):
            assert values.tolist() == [expected, expected]
