"""Blur against torchvision's, which augmentations are used, and which all views share."""

from dataclasses import fields

import pytest
import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from cptools.core.build import build_views
from cptools.core.presets import VIEWS
from cptools.core.views import Views, draw_views
from cptools.core.views.blur import SIGMA, blur, kernel_size
from cptools.core.views.recipe import AUGMENTATIONS, ViewParams

MEAN, STD = (0.5, 0.45, 0.4), (0.2, 0.25, 0.3)


def images(num: int = 4, height: int = 12, width: int = 9) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(num, 3, height, width, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("size", [(12, 9), (40, 64), (3, 3)])
def test_torchvisions_blur(size: tuple[int, int]) -> None:
    x, sigma = images(4, *size), torch.tensor([0.1, 0.7, 2.0, 0.0])
    taps = kernel_size(min(size))
    found = blur(x, sigma)
    for i in range(3):
        expected = gaussian_blur(x[i], [taps, taps], [float(sigma[i])])
        torch.testing.assert_close(found[i], expected)
    assert torch.equal(found[3], x[3])


@pytest.mark.parametrize(
    ("size", "taps"), [(1, 3), (32, 3), (33, 3), (40, 5), (64, 7), (96, 9), (224, 23)]
)
def test_kernels_are_a_tenth_of_the_side(size: int, taps: int) -> None:
    assert kernel_size(size) == taps


def test_what_is_too_small_stays() -> None:
    x = images(2, 1, 1)
    assert torch.equal(blur(x, torch.ones(2)), x)


def test_the_gradient_of_blur() -> None:
    x = images(2, 5, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: blur(v, torch.tensor([0.5, 1.5])), x)


def test_the_whole_view_is_blurred_at_last() -> None:
    x = images().float()
    plain, blurred = Views(8, MEAN, STD), Views(8, MEAN, STD, blur_p=1.0)
    params = blurred.draw(4, 12, 9, torch.Generator().manual_seed(1))
    assert float(params.sigma.min()) >= SIGMA[0]
    assert float(params.sigma.max()) <= SIGMA[1]
    expected = blur(plain.apply(x, plain.draw(4, 12, 9, torch.Generator().manual_seed(1))),
                    params.sigma)  # fmt: skip
    torch.testing.assert_close(blurred.apply(x, params), expected)
    assert not blurred.weak().draw(4, 12, 9, torch.Generator()).sigma.any()


def test_how_often_and_how_strongly() -> None:
    views = Views(8, MEAN, STD, blur_p=0.3)
    sigma = views.draw(4000, 8, 8, torch.Generator().manual_seed(2)).sigma
    assert float((sigma > 0).float().mean()) == pytest.approx(0.3, abs=0.03)
    drawn = sigma[sigma > 0]
    assert float(drawn.mean()) == pytest.approx(sum(SIGMA) / 2, abs=0.06)
    assert float(drawn.std()) == pytest.approx((SIGMA[1] - SIGMA[0]) / 12**0.5, rel=0.1)


def same(params: ViewParams, num: int) -> set[str]:
    """The augmentations that two copies of `num` images have alike."""
    parts = params[slice(0, num)], params[slice(num, 2 * num)]
    return {
        name
        for name, own in AUGMENTATIONS.items()
        if all(torch.equal(*(getattr(part, field) for part in parts)) for field in own)
    }


@pytest.mark.parametrize("names", [(), ("crop",), ("jitter", "blur"), tuple(AUGMENTATIONS)])
def test_shared_augmentations(names: tuple[str, ...]) -> None:
    views = Views(8, MEAN, STD, gray_p=0.5, blur_p=0.5, shared=names)
    x = images(20).float()
    params = views.draw(40, 12, 9, torch.Generator().manual_seed(3))
    shared = params.share(names, 2)
    assert same(params, 20) == set()
    assert same(shared, 20) == set(names)
    for field in fields(params):  # the first copy keeps what was drawn for it
        assert torch.equal(getattr(shared, field.name)[:20], getattr(params, field.name)[:20])
    view_a, view_b = draw_views(views, x, 2, torch.Generator().manual_seed(3))
    expected = views.apply(torch.cat([x, x]), shared)
    assert torch.equal(torch.cat([view_a, view_b]), expected)
    assert torch.equal(view_a, view_b) == (len(names) == len(AUGMENTATIONS))


def test_every_parameter_belongs_to_an_augmentation() -> None:
    named = [field for own in AUGMENTATIONS.values() for field in own]
    assert sorted(named) == sorted(field.name for field in fields(ViewParams))


@pytest.mark.parametrize("off", AUGMENTATIONS)
def test_an_augmentation_that_is_not_named_is_off(off: str) -> None:
    used = [name for name in AUGMENTATIONS if name != off]
    values = VIEWS | {"views": ",".join(used), "share_views": "crop,gray"}
    views = build_views(values, size=8, mean=MEAN, std=STD)
    assert views.shared == ("crop", "gray")
    found = {
        "crop": views.scale == (0.2, 1.0), "flip": views.flip == 0.5,
        "jitter": views.jitter_p == 0.8, "gray": views.gray_p == 0.2, "blur": views.blur_p == 0.5,
    }  # fmt: skip
    assert found == {name: name != off for name in AUGMENTATIONS}
    nothing = build_views(VIEWS | {"views": ""}, size=9, mean=MEAN, std=STD)
    x = images(3, 9, 9).float()
    (view,) = draw_views(nothing, x, 1, torch.Generator().manual_seed(4))
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    torch.testing.assert_close(view, (x - mean) / std)
