"""What `loss` names, against slow readings of the definitions."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from cptools.core.algorithms.losses import info_nce, nt_xent
from cptools.core.algorithms.objectives import OF_VIEWS, WITH_QUEUE

seeds = st.integers(0, 2**31)
Vector = list[float]


def rows(num: int, dim: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(num, dim, generator=generator, dtype=torch.float64), dim=1)


def dot(u: Vector, v: Vector) -> float:
    return math.fsum(x * y for x, y in zip(u, v, strict=True))


def distance2(u: Vector, v: Vector) -> float:
    return math.fsum((x - y) ** 2 for x, y in zip(u, v, strict=True))


Case = tuple[Vector, Vector, list[Vector]]  # an embedding, its positive, its negatives


def slow_hinge(cases: list[Case]) -> float:
    """Saunshi et al. 2019: l(v) = max(0, 1 + max_i(-v_i)), v_i = f(x)(f(x+) - f(x-_i))."""
    total = 0.0
    for anchor, positive, negatives in cases:
        v = [dot(anchor, positive) - dot(anchor, n) for n in negatives]
        total += max(0.0, 1 + max(-value for value in v))
    return total / len(cases)


def slow_align_uniform(cases: list[Case]) -> float:
    """Wang and Isola 2020: E |f(x) - f(y)|^2 + log E exp(-2 |f(x) - f(y)|^2)."""
    near = math.fsum(distance2(a, p) for a, p, _ in cases) / len(cases)
    potentials = [math.exp(-2 * distance2(a, n)) for a, _, negatives in cases for n in negatives]
    return near + math.log(math.fsum(potentials) / len(potentials))


def slow_cosine(cases: list[Case]) -> float:
    return -math.fsum(dot(a, p) for a, p, _ in cases) / len(cases)


SLOW: dict[str, Callable[[list[Case]], float]] = {
    "hinge": slow_hinge, "align-uniform": slow_align_uniform, "cosine": slow_cosine,
}  # fmt: skip


def of_views(z_a: Tensor, z_b: Tensor) -> list[Case]:
    a, b = z_a.tolist(), z_b.tolist()
    cases = []
    for own, other in ((a, b), (b, a)):
        for i in range(len(a)):
            negatives = [z[j] for z in (a, b) for j in range(len(a)) if j != i]
            cases.append((own[i], other[i], negatives))
    return cases


@pytest.mark.parametrize("name", SLOW)
@given(num=st.integers(2, 5), dim=st.integers(2, 6), seed=seeds)
def test_of_views(name: str, num: int, dim: int, seed: int) -> None:
    z_a, z_b = rows(num, dim, seed), rows(num, dim, seed + 1)
    found = OF_VIEWS[name](z_a, z_b, temperature=0.1)
    assert float(found) == pytest.approx(SLOW[name](of_views(z_a, z_b)), rel=1e-4, abs=1e-5)
    assert float(OF_VIEWS[name](z_b, z_a, temperature=3)) == pytest.approx(float(found), abs=1e-5)


@pytest.mark.parametrize("name", SLOW)
@given(num=st.integers(1, 5), queue=st.integers(1, 6), seed=seeds)
def test_with_queue(name: str, num: int, queue: int, seed: int) -> None:
    q, k, negatives = rows(num, 4, seed), rows(num, 4, seed + 1), rows(queue, 4, seed + 2)
    cases = [(q[i].tolist(), k[i].tolist(), negatives.tolist()) for i in range(num)]
    found = WITH_QUEUE[name](q, k, negatives, temperature=0.1)
    assert float(found) == pytest.approx(SLOW[name](cases), rel=1e-4, abs=1e-5)


@given(num=st.integers(2, 5), tau=st.floats(0.05, 2), seed=seeds)
def test_infonce_of_views_has_negatives_in_the_other_view_alone(
    num: int, tau: float, seed: int
) -> None:
    z_a, z_b = rows(num, 4, seed), rows(num, 4, seed + 1)
    total = 0.0
    for own, other in ((z_a.tolist(), z_b.tolist()), (z_b.tolist(), z_a.tolist())):
        for i in range(num):
            scores = [math.exp(dot(own[i], other[j]) / tau) for j in range(num)]
            total -= math.log(scores[i] / sum(scores))
    found = OF_VIEWS["infonce"](z_a, z_b, temperature=tau)
    assert float(found) == pytest.approx(total / (2 * num), rel=1e-4, abs=2e-5)


def test_the_defaults_are_the_papers() -> None:
    assert OF_VIEWS["nt-xent"] is nt_xent
    assert WITH_QUEUE["infonce"] is info_nce


@pytest.mark.parametrize("name", ["hinge", "align-uniform", "nt-xent", "infonce"])
def test_what_keeps_embeddings_apart(name: str) -> None:
    """Embeddings that all are one are worse than ones at right angles; for cosine as good."""
    apart, one = torch.eye(4), torch.eye(4)[:1].expand(4, -1)
    better, worse = (OF_VIEWS[name](z, z, temperature=0.5) for z in (apart, one))
    assert float(better) < float(worse) - 0.1
    assert float(OF_VIEWS["cosine"](apart, apart, temperature=0.5)) == -1
    assert float(OF_VIEWS["cosine"](one, one, temperature=0.5)) == -1


@pytest.mark.parametrize("name", OF_VIEWS)
def test_gradients_are_finite(name: str) -> None:
    z = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    a, b = F.normalize(z, dim=1).chunk(2)
    OF_VIEWS[name](a, b, temperature=0.2).backward()
    assert z.grad is not None
    assert torch.isfinite(z.grad).all()
    assert float(z.grad.abs().max()) > 0
