"""VICReg: algorithm 1 an entry at a time, symmetry, gradients."""

from copy import deepcopy

import pytest
import torch
from learners import images, input_gradient, make, views_of
from torch import Tensor

from cptools.core.algorithms.vicreg import covariance, variance

WEIGHTS = {"invariance_weight": 2.0, "variance_weight": 3.0, "covariance_weight": 0.7}


@pytest.fixture
def in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the code, which computes losses in float32, in float64 instead."""
    monkeypatch.setattr(Tensor, "float", Tensor.double)


def slow_covariance(z: Tensor) -> list[list[Tensor]]:
    """Equation 3."""
    num, mean = len(z), sum(z) / len(z)
    dims = range(z.shape[1])
    return [
        [sum((row[i] - mean[i]) * (row[j] - mean[j]) for row in z) / (num - 1) for j in dims]
        for i in dims
    ]


def slow_vicreg(z_a: Tensor, z_b: Tensor) -> Tensor:
    """Algorithm 1: lambda mse + mu (hinge on deviations) + nu (squares off the diagonal / d)."""
    num, dim = z_a.shape
    total = torch.zeros((), dtype=z_a.dtype)
    for a, b in zip(z_a, z_b, strict=True):
        for i in range(dim):
            total = total + WEIGHTS["invariance_weight"] * (a[i] - b[i]) ** 2 / (num * dim)
    for z in (z_a, z_b):
        c = slow_covariance(z)
        for i in range(dim):
            gap = 1 - (c[i][i] + 1e-4).sqrt()
            total = total + WEIGHTS["variance_weight"] * gap.clamp(min=0) / dim
            for j in range(dim):
                if i != j:
                    total = total + WEIGHTS["covariance_weight"] * c[i][j] ** 2 / dim
    return total


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.usefixtures("in_float64")
def test_the_loss_is_the_papers(training: bool) -> None:
    algorithm = make("vicreg", **WEIGHTS).train(training)
    slow = deepcopy(algorithm)
    a, b = views_of(images())
    z_a, z_b = (slow.head["projector"](slow.encoder(view)) for view in (a, b))
    expected = slow_vicreg(z_a, z_b)
    torch.testing.assert_close(algorithm.loss(a, b), expected)
    torch.testing.assert_close(algorithm.loss(b, a), expected)  # no view is special
    assert float(expected.detach()) > 0.1


@pytest.mark.usefixtures("in_float64")
def test_gradients_and_one_branch() -> None:
    algorithm = make("vicreg").eval()
    x = images()[:4].requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: algorithm.loss(*views_of(x)), x, fast_mode=True, atol=1e-6
    )
    single, dual = (input_gradient(algorithm, dual=dual) for dual in (False, True))
    assert torch.equal(single, dual)


def test_closed_forms() -> None:
    signs = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])  # uncorrelated, variance 4 / 3
    assert float(variance(signs)) == 0
    assert float(covariance(signs)) == 0
    assert float(variance(0 * signs)) == pytest.approx(0.99)  # 1 - sqrt(epsilon)
    assert float(variance(signs / 2)) == pytest.approx(1 - (1 / 3 + 1e-4) ** 0.5)
    assert float(covariance(signs[:, [0, 0]])) == pytest.approx(2 * (4 / 3) ** 2 / 2)


def test_collapsed_embeddings_have_finite_gradients() -> None:
    z = torch.zeros(6, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(variance(z) + covariance(z), z)
    assert bool(gradient.isfinite().all())


def test_the_covariance_is_float32_inside_bfloat16_autocast() -> None:
    z = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))
    expected = covariance(z)
    with torch.autocast("cpu", torch.bfloat16):
        got = covariance(z)
    torch.testing.assert_close(got, expected)
