"""LARS: algorithm 1 of You et al. a number at a time, what is left out of it, resuming."""

import math

import pytest
import torch
from torch import Tensor, nn

from cptools.core.lars import LARS
from cptools.core.training import optimizer_state, restore_optimizer, set_lr

DECAY, MOMENTUM, TRUST = 0.1, 0.9, 0.05
RATES = (0.5, 0.3, 0.8, 0.2)  # the rate changes: it is inside the velocity


def weights() -> list[nn.Parameter]:
    """A matrix, a convolution, a bias, and weights that are all zero."""
    generator = torch.Generator().manual_seed(0)
    made = [torch.randn(s, generator=generator).double() for s in ((3, 4), (2, 3, 3, 3), (5,))]
    return [nn.Parameter(w) for w in (*made, torch.zeros(2, 2).double())]


def gradients(step: int, like: list[nn.Parameter]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(10 + step)
    made = [torch.randn(w.shape, generator=generator).double() for w in like]
    if step == 2:
        made[0].zero_()
    return made


def optimizer_of(parameters: list[nn.Parameter]) -> LARS:
    return LARS(parameters, lr=RATES[0], weight_decay=DECAY, momentum=MOMENTUM, trust=TRUST)


def walk(optimizer: LARS, parameters: list[nn.Parameter], steps: range) -> None:
    for step in steps:
        set_lr(optimizer, RATES[step])
        for weight, gradient in zip(parameters, gradients(step, parameters), strict=True):
            weight.grad = gradient
        optimizer.step()


def slow_lars(start: Tensor, given: list[Tensor], *, is_adapted: bool) -> list[float]:
    """You et al. 2017, algorithm 1; the ratio is 1 where a norm is zero."""
    w, v = start.flatten().tolist(), [0.0] * start.numel()
    for rate, gradient in zip(RATES, given, strict=True):
        g = gradient.flatten().tolist()
        size, slope = math.hypot(*w), math.hypot(*g)
        local = TRUST * size / (slope + DECAY * size) if size > 0 and slope > 0 else 1.0
        decay = DECAY if is_adapted else 0.0
        local = local if is_adapted else 1.0
        v = [
            MOMENTUM * v_i + rate * local * (g_i + decay * w_i)
            for v_i, g_i, w_i in zip(v, g, w, strict=True)
        ]
        w = [w_i - v_i for w_i, v_i in zip(w, v, strict=True)]
    return w


def test_steps_are_those_of_the_paper() -> None:
    parameters = weights()
    starts = [weight.detach().clone() for weight in parameters]
    walk(optimizer_of(parameters), parameters, range(4))
    for number, (weight, start) in enumerate(zip(parameters, starts, strict=True)):
        given = [gradients(step, parameters)[number] for step in range(4)]
        expected = slow_lars(start, given, is_adapted=start.ndim > 1)
        assert weight.flatten().tolist() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_the_step_does_not_depend_on_the_scale_of_the_loss() -> None:
    moved = []
    for scale in (1.0, 1000.0):
        (weight, *_) = weights()
        before = weight.detach().clone()
        optimizer = LARS([weight], lr=0.5, weight_decay=0.0, momentum=0.0, trust=TRUST)
        weight.grad = scale * gradients(0, [weight])[0]
        optimizer.step()
        moved.append(weight.detach() - before)
    torch.testing.assert_close(*moved)
    assert float(moved[0].norm() / before.norm()) == pytest.approx(0.5 * TRUST)


def test_weights_without_gradient_stay() -> None:
    parameters = weights()
    before = [weight.detach().clone() for weight in parameters]
    optimizer_of(parameters).step()
    assert all(torch.equal(a, b) for a, b in zip(parameters, before, strict=True))


def test_a_restored_optimizer_goes_on() -> None:
    whole, first = weights(), weights()
    walk(optimizer_of(whole), whole, range(4))
    halfway = optimizer_of(first)
    walk(halfway, first, range(2))
    carried = optimizer_of(first)
    restore_optimizer(carried, optimizer_state(halfway))
    walk(carried, first, range(2, 4))
    assert all(torch.equal(a, b) for a, b in zip(first, whole, strict=True))
