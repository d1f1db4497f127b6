"""Color jitter against PIL, against plain formulas, and its hand-written gradient."""

import itertools

import pytest
import torch
from pil_views import NAMES, PIL_OPERATIONS, from_pil, pictures, plain_jitter, to_pil
from torch import Tensor

from cptools.core.views.color import jitter, plan_jitter

NEUTRAL = (1.0, 1.0, 1.0, 0.0)
ORDERS = torch.tensor(list(itertools.permutations(range(4))))


def changed(x: Tensor, order: Tensor, factors: Tensor, applied: Tensor | None = None) -> Tensor:
    """Jitter of [B, 3, P]."""
    if applied is None:
        applied = torch.ones(len(x), dtype=torch.bool)
    return jitter(x, plan_jitter(applied, order, factors, device=x.device, dtype=x.dtype))


def only(number: int, factor: Tensor) -> tuple[Tensor, Tensor]:
    """Order and factors that do one operation alone; the others are neutral."""
    factors = torch.tensor(NEUTRAL, dtype=torch.float64).repeat(len(factor), 1)
    factors[:, number] = factor
    return ORDERS[torch.arange(len(factor)) % 24], factors


def random_case(num: int, pixels: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Random images, orders and strong factors: x, applied, order, factors."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(num, 3, pixels, generator=generator, dtype=torch.float64)
    applied = torch.rand(num, generator=generator) < 0.8
    order = torch.rand(num, 4, generator=generator).argsort(1)
    factors = 1.8 * torch.rand(num, 4, generator=generator, dtype=torch.float64)
    factors[:, 3] = torch.rand(num, generator=generator, dtype=torch.float64) - 0.5
    return x, applied, order, factors


@pytest.mark.parametrize("number", range(3))
def test_blends_equal_pil_within_its_rounding(number: int) -> None:
    images = pictures(100, 24, 24, seed=2)
    generator = torch.Generator().manual_seed(3)
    factor = 0.6 + 0.8 * torch.rand(100, generator=generator)
    x = (images.double() / 255).flatten(2)
    ours = 255 * changed(x, *only(number, factor)).view(images.shape)
    pil = torch.stack(
        [
            from_pil(PIL_OPERATIONS[number](to_pil(image), float(f)))
            for image, f in zip(images, factor, strict=True)
        ]
    )
    error = (ours - pil).abs()
    # PIL's blend cuts off (up to 1 level), after rounding the target (0.5 |1 - f| = 0.2)
    assert error.max() < 1.21, NAMES[number]
    assert error.mean() < 0.55
    assert (ours.round() - pil).abs().max() <= 1


def test_hue_equals_pil_within_its_8_bit_hsv() -> None:
    images = pictures(100, 24, 24, seed=4)
    generator = torch.Generator().manual_seed(5)
    shift = 0.2 * torch.rand(100, generator=generator) - 0.1
    x = (images.double() / 255).flatten(2)
    ours = 255 * changed(x, *only(3, shift)).view(images.shape)
    pil = torch.stack(
        [
            from_pil(PIL_OPERATIONS[3](to_pil(image), float(f)))
            for image, f in zip(images, shift, strict=True)
        ]
    )
    # PIL cuts the hue to a step of 1/255 of the circle (6 / 255 sextants), cuts the shift to one,
    # and wraps at 256 instead of 255 steps: at most 3 steps of 6 C / 255 levels; S to 1/255
    chroma = (images.amax(1, keepdim=True) - images.amin(1, keepdim=True)).double()
    error = (ours - pil).abs()
    assert (error <= 18 / 255 * chroma + 2.5).all()
    assert error.mean() < 1.2


def test_hue_equals_torchvisions_float_version() -> None:
    generator = torch.Generator().manual_seed(6)
    x = torch.rand(50, 3, 64, generator=generator, dtype=torch.float64)
    shift = torch.rand(50, generator=generator, dtype=torch.float64) - 0.5
    theirs = torch.stack(
        [
            PIL_OPERATIONS[3](image.view(3, 8, 8), float(f)).flatten(1)
            for image, f in zip(x, shift, strict=True)
        ]
    )
    torch.testing.assert_close(changed(x, *only(3, shift)), theirs, rtol=0, atol=2e-6)


@pytest.mark.parametrize("num", [1, 2, 200])
def test_values_and_gradients_equal_the_plain_formulas(num: int) -> None:
    x, applied, order, factors = random_case(num, 50, seed=num)
    x.requires_grad_()
    upstream = torch.rand(x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(8))
    ours = changed(x, order, factors, applied)
    plain = plain_jitter(x, applied, order, factors)
    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-12)
    gradient = [torch.autograd.grad(y, x, upstream)[0] for y in (ours, plain)]
    torch.testing.assert_close(gradient[0], gradient[1], rtol=0, atol=1e-10)


@pytest.mark.parametrize("order", range(0, 24, 5))
def test_every_order_is_followed(order: int) -> None:
    x, _, _, factors = random_case(5, 30, seed=9)
    orders = ORDERS[order].expand(5, 4)
    plain = plain_jitter(x, torch.ones(5), orders, factors)
    torch.testing.assert_close(changed(x, orders, factors), plain, rtol=0, atol=1e-12)


@pytest.mark.parametrize("number", range(4))
def test_gradient_of_each_operation_by_finite_differences(number: int) -> None:
    generator = torch.Generator().manual_seed(10 + number)
    x = torch.rand(4, 3, 6, dtype=torch.float64, generator=generator, requires_grad=True)
    factor = torch.tensor([0.6, 1.3, 0.8, 1.4]) if number < 3 else torch.tensor([0.1, -0.1, 0.3, 0])
    order, factors = only(number, factor)
    assert torch.autograd.gradcheck(lambda y: changed(y, order, factors), (x,))


def test_gradient_of_all_operations_by_finite_differences() -> None:
    x, applied, order, factors = random_case(8, 5, seed=15)
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda y: changed(y, order, factors, applied), (x,))


def test_gray_pixels_keep_their_value_and_have_a_finite_gradient() -> None:
    gray = torch.tensor([0.0, 0.2, 0.5, 1.0]).view(1, 1, 4).expand(6, 3, 4)
    x = gray.clone().requires_grad_()
    shift = torch.tensor([0.1, -0.1, 0.5, -0.5, 0.0, 0.25])
    y = changed(x, *only(3, shift))
    torch.testing.assert_close(y.detach(), gray, rtol=0, atol=1e-6)
    upstream = torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad(y, x, upstream)
    torch.testing.assert_close(gradient, upstream.mean(1, keepdim=True).expand_as(gradient))


def test_equal_channels_have_a_finite_gradient_that_sums_to_what_came() -> None:
    levels = torch.tensor([0.0, 1e-38, 1e-7, 0.5, 1.0])
    x = torch.cartesian_prod(levels, levels, levels).t().unsqueeze(0).repeat(7, 1, 1)
    x.requires_grad_()
    shift = torch.tensor([0.1, -0.1, 1 / 6, -1 / 6, 0.5, 0.0, 1 / 3])
    y = changed(x, *only(3, shift))
    upstream = torch.rand(y.shape, generator=torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad(y, x, upstream)
    assert y.isfinite().all()
    assert gradient.isfinite().all()
    # hue moves with a shift of all channels: the Jacobian's rows sum to 1
    torch.testing.assert_close(gradient.sum(1), upstream.sum(1), rtol=0, atol=1e-5)


def test_clamped_values_have_no_gradient_and_the_border_has() -> None:
    x = torch.tensor([0.0, 0.5, 0.9]).expand(1, 3, 3).clone().requires_grad_()
    y = changed(x, *only(0, torch.tensor([1.4])))
    (gradient,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(gradient, torch.tensor([1.4, 1.4, 0.0]).expand(1, 3, 3))


def test_neutral_factors_and_images_left_out_change_nothing() -> None:
    x, _, order, factors = random_case(30, 20, seed=20)
    neutral = torch.tensor(NEUTRAL, dtype=torch.float64).expand(30, 4)
    torch.testing.assert_close(changed(x, order, neutral), x, rtol=0, atol=1e-12)
    nobody = torch.zeros(30, dtype=torch.bool)
    assert torch.equal(changed(x, order, factors, nobody), x)


def test_the_input_stays_and_the_graph_can_be_used_twice() -> None:
    x, applied, order, factors = random_case(9, 10, seed=21)
    before = x.clone()
    x.requires_grad_()
    y = changed(x, order, factors, applied)
    assert torch.equal(x, before)
    first = torch.autograd.grad(y.sum(), x, retain_graph=True)[0]
    assert torch.equal(first, torch.autograd.grad(y.sum(), x)[0])
