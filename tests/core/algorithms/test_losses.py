"""Losses against the papers' pseudocode in slow loops, closed forms, symmetries, gradients."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from cptools.core.algorithms.losses import byol_regression, info_nce, negative_cosine, nt_xent

seeds = st.integers(0, 2**31)
numbers = st.integers(1, 6)
temperatures = st.floats(0.05, 2)
LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "nt_xent": lambda a, b, _: nt_xent(a, b, temperature=0.5),
    "info_nce": lambda a, b, queue: info_nce(a, b, queue, temperature=0.2),
    "byol": lambda a, b, _: byol_regression(a, b),
    "simsiam": lambda a, b, _: negative_cosine(a, b),
}


def unit_rows(num: int, dim: int, seed: int) -> Tensor:
    rows = torch.randn(num, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return F.normalize(rows, dim=1)


def dot(u: list[float], v: list[float]) -> float:
    return math.fsum(x * y for x, y in zip(u, v, strict=True))


def slow_nt_xent(z_a: Tensor, z_b: Tensor, tau: float) -> float:
    """Chen et al. 2020, algorithm 1: z_(2k-1) and z_(2k) are the views of image k."""
    z = [row for pair in zip(z_a.tolist(), z_b.tolist(), strict=True) for row in pair]
    total = 0.0
    for k in range(len(z_a)):
        for i, j in ((2 * k, 2 * k + 1), (2 * k + 1, 2 * k)):
            below = sum(math.exp(dot(z[i], z[m]) / tau) for m in range(len(z)) if m != i)
            total += -math.log(math.exp(dot(z[i], z[j]) / tau) / below)
    return total / (2 * len(z_a))


def slow_nt_xent_of_many(views: list[Tensor], tau: float) -> float:
    """Of every embedding, each other view of its image against all embeddings but its own."""
    z = [(i, row) for view in views for i, row in enumerate(view.tolist())]
    terms = []
    for a, (image, anchor) in enumerate(z):
        others = [(i, dot(anchor, row) / tau) for b, (i, row) in enumerate(z) if b != a]
        below = math.log(sum(math.exp(score) for _, score in others))
        terms += [below - score for i, score in others if i == image]
    return math.fsum(terms) / len(terms)


def slow_info_nce(q: Tensor, k: Tensor, queue: Tensor, tau: float) -> float:
    """He et al. 2020, equation 1, averaged over the batch as in algorithm 1."""
    total = 0.0
    for query, key in zip(q.tolist(), k.tolist(), strict=True):
        keys = [key, *queue.tolist()]
        below = sum(math.exp(dot(query, other) / tau) for other in keys)
        total += -math.log(math.exp(dot(query, key) / tau) / below)
    return total / len(q)


def slow_byol(p: Tensor, z: Tensor) -> float:
    """Grill et al. 2020, equation 2: squared distance of the unit vectors."""
    total = 0.0
    for u, v in zip(p.tolist(), z.tolist(), strict=True):
        total += sum((x - y) ** 2 for x, y in zip(u, v, strict=True))
    return total / len(p)


@given(numbers, st.integers(2, 8), temperatures, seeds)
def test_nt_xent_is_the_papers_pseudocode(num: int, dim: int, tau: float, seed: int) -> None:
    z_a, z_b = unit_rows(2 * num, dim, seed).chunk(2)
    got = nt_xent(z_a, z_b, temperature=tau)
    assert got.dtype == torch.float32
    assert float(got) == pytest.approx(slow_nt_xent(z_a, z_b, tau), rel=1e-4, abs=2e-5)


@given(st.integers(2, 5), numbers, st.integers(2, 8), temperatures, seeds)
def test_nt_xent_of_many_views_has_every_other_view_as_positive(
    num_views: int, num: int, dim: int, tau: float, seed: int
) -> None:
    views = list(unit_rows(num_views * num, dim, seed).chunk(num_views))
    expected = slow_nt_xent_of_many(views, tau)
    assert float(nt_xent(*views, temperature=tau)) == pytest.approx(expected, rel=1e-4, abs=2e-5)
    turned = nt_xent(*views[1:], views[0], temperature=tau)  # no view is special
    assert float(turned) == pytest.approx(expected, rel=1e-4, abs=2e-5)


@given(numbers, st.integers(2, 8), st.integers(1, 9), temperatures, seeds)
def test_info_nce_is_the_papers_equation(
    num: int, dim: int, size: int, tau: float, seed: int
) -> None:
    q, k, queue = unit_rows(2 * num + size, dim, seed).split([num, num, size])
    got = info_nce(q, k, queue, temperature=tau)
    assert got.dtype == torch.float32
    assert float(got) == pytest.approx(slow_info_nce(q, k, queue, tau), rel=1e-4, abs=2e-5)


@given(numbers, st.integers(2, 8), seeds)
def test_byol_regression_is_the_squared_distance(num: int, dim: int, seed: int) -> None:
    p, z = unit_rows(2 * num, dim, seed).chunk(2)
    got = byol_regression(p, z)
    assert got.dtype == torch.float32
    assert 0 <= float(got) <= 4
    assert float(got) == pytest.approx(slow_byol(p, z), abs=1e-5)


@given(numbers, st.integers(2, 8), seeds)
def test_negative_cosine_is_the_papers_pseudocode(num: int, dim: int, seed: int) -> None:
    # Chen and He 2021, algorithm 1: D(p, z) = -(p * z).sum(dim=1).mean() of normalized rows.
    p, z = unit_rows(2 * num, dim, seed).chunk(2)
    got = negative_cosine(p, z)
    expected = -sum(map(dot, p.tolist(), z.tolist())) / num
    assert got.dtype == torch.float32
    assert -1 - 1e-6 <= float(got) <= 1 + 1e-6
    assert float(got) == pytest.approx(expected, abs=1e-6)
    # Of unit vectors it is half of BYOL's squared distance, less one.
    assert float(got) == pytest.approx(float(byol_regression(p, z)) / 2 - 1, abs=1e-6)


@pytest.mark.parametrize("tau", [0.1, 0.5, 1.0])
def test_closed_forms_of_nt_xent(tau: float) -> None:
    same = torch.eye(5)[[0] * 4]
    assert float(nt_xent(same, same, temperature=tau)) == pytest.approx(math.log(7), rel=1e-5)
    axes = torch.eye(5)[:4]  # positives aligned, all else orthogonal
    expected = math.log(math.exp(1 / tau) + 6) - 1 / tau
    assert float(nt_xent(axes, axes, temperature=tau)) == pytest.approx(expected, abs=1e-6)
    alone = unit_rows(2, 5, 0)  # one pair has no negatives
    assert float(nt_xent(alone[:1], alone[1:], temperature=tau)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("tau", [0.1, 0.2, 1.0])
def test_closed_forms_of_info_nce(tau: float) -> None:
    axes = torch.eye(12)
    q, far, queue = axes[:3], axes[3:6], axes[6:]
    assert float(info_nce(q, far, queue, temperature=tau)) == pytest.approx(math.log(7), rel=1e-5)
    aligned = math.log1p(6 * math.exp(-1 / tau))
    assert float(info_nce(q, q, queue, temperature=tau)) == pytest.approx(aligned, abs=1e-6)
    opposed = math.log(math.exp(-1 / tau) + 6) + 1 / tau
    assert float(info_nce(q, -q, queue, temperature=tau)) == pytest.approx(opposed, rel=1e-5)


def test_closed_forms_of_byol_regression() -> None:
    axes = torch.eye(6)
    assert float(byol_regression(axes[:3], axes[:3])) == 0
    assert float(byol_regression(axes[:3], axes[3:])) == 2
    assert float(byol_regression(axes[:3], -axes[:3])) == 4


def test_closed_forms_of_negative_cosine() -> None:
    axes = torch.eye(6)
    assert float(negative_cosine(axes[:3], axes[:3])) == -1
    assert float(negative_cosine(axes[:3], axes[3:])) == 0
    assert float(negative_cosine(axes[:3], -axes[:3])) == 1


@given(st.integers(2, 6), seeds)
def test_symmetries(num: int, seed: int) -> None:
    a, b, queue = unit_rows(2 * num + 5, 4, seed).split([num, num, 5])
    turn = torch.linalg.qr(unit_rows(4, 4, seed + 1))[0]
    order = torch.randperm(num, generator=torch.Generator().manual_seed(seed))
    shuffled = queue[torch.randperm(5, generator=torch.Generator().manual_seed(seed))]
    for name, loss in LOSSES.items():
        value = float(loss(a, b, queue))
        assert float(loss(a @ turn, b @ turn, queue @ turn)) == pytest.approx(value, abs=1e-5), name
        assert float(loss(a[order], b[order], shuffled)) == pytest.approx(value, abs=1e-5), name
        if name != "info_nce":
            assert float(loss(b, a, queue)) == pytest.approx(value, abs=1e-5), name


@pytest.mark.parametrize("name", LOSSES)
def test_gradients(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # The losses compute in float32; in float64 the same code can be checked by differences.
    rows = [r.clone().requires_grad_() for r in unit_rows(11, 5, 3).split([3, 3, 5])]
    single = torch.autograd.grad(LOSSES[name](*rows), rows[:2])
    monkeypatch.setattr(Tensor, "float", Tensor.double)
    assert torch.autograd.gradcheck(LOSSES[name], rows)
    double = torch.autograd.grad(LOSSES[name](*rows), rows[:2])
    for got, exact in zip(single, double, strict=True):
        torch.testing.assert_close(got, exact, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_float32_inside_bfloat16_autocast(name: str) -> None:
    z_a, z_b, queue = unit_rows(96, 32, 4).float().split(32)
    expected = LOSSES[name](z_a, z_b, queue)
    with torch.autocast("cpu", torch.bfloat16):
        got = LOSSES[name](z_a, z_b, queue)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-6)
