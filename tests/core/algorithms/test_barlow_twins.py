"""Barlow Twins: equations 1 and 2 a correlation at a time, symmetry, batches that are no help."""

from copy import deepcopy

import pytest
import torch
from learners import images, input_gradient, make, views_of
from torch import Tensor

from cptools.core.algorithms.barlow_twins import redundancy

LAMBDA = 0.3


@pytest.fixture
def in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the code, which computes losses in float32, in float64 instead."""
    monkeypatch.setattr(Tensor, "float", Tensor.double)


def slow_redundancy(z_a: Tensor, z_b: Tensor, weight: float) -> Tensor:
    """Equations 1 and 2, of centered projections; batch norm's epsilon in the variances."""
    num, total = len(z_a), torch.zeros((), dtype=z_a.dtype)
    for i in range(z_a.shape[1]):
        for j in range(z_b.shape[1]):
            a, b = z_a[:, i] - z_a[:, i].mean(), z_b[:, j] - z_b[:, j].mean()
            below = (a.pow(2).sum() + num * 1e-5).sqrt() * (b.pow(2).sum() + num * 1e-5).sqrt()
            c = sum(a[k] * b[k] for k in range(num)) / below
            total = total + ((1 - c) ** 2 if i == j else weight * c**2)
    return total


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.usefixtures("in_float64")
def test_the_loss_is_the_papers(training: bool) -> None:
    algorithm = make("barlow-twins", redundancy_weight=LAMBDA).train(training)
    slow = deepcopy(algorithm)
    a, b = views_of(images())
    z_a, z_b = (slow.head["projector"](slow.encoder(view)) for view in (a, b))
    expected = slow_redundancy(z_a, z_b, LAMBDA)
    torch.testing.assert_close(algorithm.loss(a, b), expected)
    torch.testing.assert_close(algorithm.loss(b, a), expected)  # no view is special
    assert float(expected.detach()) > 0.1


@pytest.mark.usefixtures("in_float64")
def test_gradients_and_one_branch() -> None:
    algorithm = make("barlow-twins").eval()
    x = images()[:4].requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: algorithm.loss(*views_of(x)), x, fast_mode=True, atol=1e-6
    )
    single, dual = (input_gradient(algorithm, dual=dual) for dual in (False, True))
    assert torch.equal(single, dual)


def test_closed_forms() -> None:
    signs = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])  # two dimensions, uncorrelated
    assert float(redundancy(signs, 3 * signs + 7, weight=LAMBDA)) == pytest.approx(0, abs=1e-8)
    same = signs[:, [0, 0]]  # one dimension twice
    assert float(redundancy(same, same, weight=LAMBDA)) == pytest.approx(2 * LAMBDA, rel=1e-4)
    assert float(redundancy(signs, -signs, weight=LAMBDA)) == pytest.approx(8, rel=1e-4)


def test_a_dimension_that_is_constant_has_finite_gradients() -> None:
    z = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    z[:, 1] = 0.5
    z.requires_grad_()
    loss = redundancy(z, z.detach().flip(0), weight=LAMBDA)
    (gradient,) = torch.autograd.grad(loss, z)
    assert bool(loss.isfinite())
    assert bool(gradient.isfinite().all())
    assert float(gradient.abs().max()) < 1e4


def test_the_loss_is_float32_inside_bfloat16_autocast() -> None:
    z = torch.randn(2, 64, 16, generator=torch.Generator().manual_seed(0))
    expected = redundancy(*z, weight=LAMBDA)
    with torch.autocast("cpu", torch.bfloat16):
        got = redundancy(*z, weight=LAMBDA)
    torch.testing.assert_close(got, expected)
