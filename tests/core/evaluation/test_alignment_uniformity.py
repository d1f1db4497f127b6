"""Alignment and uniformity against slow loops and closed forms."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cptools.core.evaluation import alignment_uniformity
from cptools.core.evaluation.alignment_uniformity import alignment, uniformity


def points(num: int, features: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((num, features), generator=generator, dtype=torch.float64)


def slow_alignment(z_a: torch.Tensor, z_b: torch.Tensor) -> float:
    total = 0.0
    for a, b in zip(z_a, z_b, strict=True):
        total += float(((a / a.norm() - b / b.norm()) ** 2).sum())
    return total / len(z_a)


def slow_uniformity(z: torch.Tensor, t: float) -> float:
    total, pairs = 0.0, 0
    for i in range(len(z)):
        for j in range(i + 1, len(z)):
            distance = float(((z[i] / z[i].norm() - z[j] / z[j].norm()) ** 2).sum())
            total += math.exp(-t * distance)
            pairs += 1
    return math.log(total / pairs)


@given(st.integers(2, 12), st.integers(1, 8), st.integers(0, 10**6), st.floats(0.1, 8))
@settings(max_examples=40, deadline=None)
def test_equal_the_slow_loops(num: int, features: int, seed: int, t: float) -> None:
    z_a, z_b = points(num, features, seed), points(num, features, seed + 1)
    assert float(alignment(z_a, z_b)) == pytest.approx(slow_alignment(z_a, z_b), abs=1e-9)
    assert float(uniformity(z_a, t)) == pytest.approx(slow_uniformity(z_a, t), abs=1e-9)
    assert float(uniformity(z_a.float(), t)) == pytest.approx(slow_uniformity(z_a, t), abs=1e-4)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    z = points(23, 5, 0)
    whole = float(uniformity(z))
    for block in (1, 4, 22, 23):
        monkeypatch.setattr(alignment_uniformity, "_BLOCK", block)
        assert float(uniformity(z)) == pytest.approx(whole, abs=1e-12)


def test_closed_forms() -> None:
    one = torch.ones((6, 4))
    assert float(alignment(one, 3 * one)) == pytest.approx(0)
    assert float(alignment(one, -one)) == pytest.approx(4)
    assert float(uniformity(one)) == pytest.approx(0, abs=1e-6)
    basis = torch.eye(7)  # all squared distances are 2
    assert float(uniformity(basis, t=3)) == pytest.approx(-6)
    assert float(alignment(basis, basis.roll(1, 0))) == pytest.approx(2)
    opposite = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert float(uniformity(opposite)) == pytest.approx(-8)
    # Uniform on the circle: E exp(-2 (2 - 2 cos)) = exp(-4) I_0(4).
    circle = torch.linspace(0, 2 * math.pi, 2001, dtype=torch.float64)[:-1]
    z = torch.stack([circle.cos(), circle.sin()], dim=1)
    bessel = sum((4 / 2) ** (2 * k) / math.factorial(k) ** 2 for k in range(40))
    assert float(uniformity(z)) == pytest.approx(math.log(math.exp(-4) * bessel), abs=3e-2)


def test_symmetries() -> None:
    z_a, z_b = points(9, 6, 1), points(9, 6, 2)
    rotation = torch.linalg.qr(points(6, 6, 3))[0]
    shuffled = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    assert float(alignment(z_a, z_b)) == pytest.approx(float(alignment(z_b, z_a)))
    assert float(alignment(z_a @ rotation, z_b @ rotation)) == pytest.approx(
        float(alignment(z_a, z_b))
    )
    assert float(uniformity(5 * z_a[shuffled] @ rotation)) == pytest.approx(float(uniformity(z_a)))


def test_a_collapsed_network_is_no_nan() -> None:
    nothing = torch.zeros((4, 3))
    assert float(uniformity(nothing)) == pytest.approx(0)
    assert float(alignment(nothing, nothing)) == 0


def test_gradients_are_those_of_the_formulas() -> None:
    z_a, z_b = points(5, 3, 4).requires_grad_(), points(5, 3, 5).requires_grad_()
    assert torch.autograd.gradcheck(alignment, (z_a, z_b))
    assert torch.autograd.gradcheck(uniformity, (z_a,))


def test_bad_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="two views"):
        alignment(torch.zeros(3, 2), torch.zeros(4, 2))
    with pytest.raises(ValueError, match="at least two images"):
        uniformity(torch.zeros(1, 2))
