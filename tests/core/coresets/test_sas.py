"""SAS against its definition: F by double loops, its greedy selection, the best of all sets."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from cptools.core.coresets.ranked import paper2, sas_topk
from cptools.core.coresets.sas import GRID, _least_similarity, greedy, on_grid, sas

Matrix = list[list[int]]

classes_of_one = torch.zeros(1000, dtype=torch.int64)


def cloud(num: int, seed: int, *, dim: int = 4, center: float = 0.0, twins: bool = False) -> Tensor:
    """Points in the unit ball about (center, 0, ...); with twins, each several times."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(num, dim, generator=generator)
    x[:, 0] += center
    x /= x.norm(dim=1, keepdim=True) * (1 + torch.rand(num, 1, generator=generator))
    if twins:
        x = x[torch.randint(num // 2, (num,), generator=generator)]
    return x


def points_of(x: Tensor) -> Tensor:
    return on_grid(x, torch.arange(len(x)))


def similarities(points: Tensor) -> Matrix:
    """All inner products in whole numbers."""
    rows = points.long().tolist()
    return [[sum(a * b for a, b in zip(p, q, strict=True)) for q in rows] for p in rows]


def cut(s: Matrix, chosen: set[int]) -> int:
    """F(S), a pair at a time."""
    return sum(s[i][j] for i in range(len(s)) if i not in chosen for j in chosen)


def naive(s: Matrix, budget: int) -> list[int]:
    """Greedy maximization of F from its values alone; the first of those that tie."""
    chosen: list[int] = []
    for _ in range(budget):
        left = [e for e in range(len(s)) if e not in chosen]
        chosen.append(max(left, key=lambda e: (cut(s, {*chosen, e}), -e)))
    return chosen


@given(
    st.integers(1, 14),
    st.integers(0, 10**6),
    st.sampled_from([0.0, 1.0, 4.0, -2.0]),
    st.booleans(),
    st.integers(1, 20),
)
def test_lazy_is_naive(num: int, seed: int, center: float, twins: bool, head: int) -> None:
    """Also where similarities are negative, and where images are equal."""
    points = points_of(cloud(num, seed, center=center, twins=twins and num > 1))
    assert greedy(points, num, head=head).tolist() == naive(similarities(points), num)


def eager(points: Tensor, budget: int) -> list[int]:
    """Greedy with the whole matrix, all gains kept up to date."""
    s = points.long() @ points.long().T
    gains, chosen = s.sum(1) - s.diagonal(), []
    for _ in range(budget):
        chosen.append(int(gains.argmax()))
        gains -= 2 * s[chosen[-1]]
        gains[chosen[-1]] = -(1 << 62)
    return chosen


@pytest.mark.parametrize("center", [0.0, 1.0, 5.0])
def test_lazy_is_eager_on_many_images(center: float) -> None:
    points = points_of(cloud(700, 0, dim=20, center=center, twins=center == 1))
    expected = eager(points, 700)
    for head in (1, 32, 700):
        assert greedy(points, 700, head=head).tolist() == expected


@given(st.integers(1, 40), st.integers(0, 10**6), st.sampled_from([0.0, 1.0, 4.0]))
def test_no_similarity_is_below_the_bound(num: int, seed: int, center: float) -> None:
    points = points_of(cloud(num, seed, center=center))
    least = (points @ points.T).min(1).values
    bound = _least_similarity(points, points.square().sum(1))
    assert bool((bound <= least).all())
    assert bool((bound >= -2 * GRID**2 - 2).all())


def test_the_bound_is_close_where_a_class_is() -> None:
    """All at one angle to the mean, in opposite pairs: the bound is met."""
    turn = torch.arange(8) * math.pi / 4
    x = torch.stack([torch.full((8,), 0.8), 0.6 * turn.cos(), 0.6 * turn.sin()], dim=1)
    points = points_of(x)
    bound = _least_similarity(points, points.square().sum(1)) / GRID**2
    assert bound.tolist() == pytest.approx([0.64 - 0.36] * 8, abs=1e-4)


def gain(s: Matrix, chosen: set[int], e: int) -> int:
    return cut(s, {*chosen, e}) - cut(s, chosen)


def subsets(num: int, most: int) -> list[set[int]]:
    return [set(c) for size in range(most + 1) for c in itertools.combinations(range(num), size)]


def is_submodular(s: Matrix) -> bool:
    return all(
        gain(s, {*small, v}, e) <= gain(s, small, e)
        for small in subsets(len(s), len(s) - 2)
        for v, e in itertools.permutations(set(range(len(s))) - small, 2)
    )


def test_submodular_where_no_similarity_is_negative_and_nowhere_else() -> None:
    assert is_submodular(similarities(points_of(cloud(6, 0).abs())))
    with_negative = similarities(points_of(cloud(6, 0)))
    assert min(map(min, with_negative)) < 0
    assert not is_submodular(with_negative)
    shift = -min(map(min, with_negative))
    shifted = [[value + shift for value in row] for row in with_negative]
    assert is_submodular(shifted)
    assert naive(shifted, 6) == naive(with_negative, 6)


@pytest.mark.parametrize("seed", range(8))
def test_greedy_is_near_the_best_of_all_sets(seed: int) -> None:
    """1 - 1/e where similarities are from a to b and r <= n / (2 (1 + b / a))."""
    x = cloud(18, seed, center=9)
    x /= x.norm(dim=1, keepdim=True)
    points = points_of(x)
    s = similarities(points)
    pairs = [s[i][j] for i, j in itertools.permutations(range(18), 2)]
    budget = int(18 / (2 * (1 + max(pairs) / min(pairs))))
    assert budget >= 2
    best = max(cut(s, set(c)) for c in itertools.combinations(range(18), budget))
    assert cut(s, set(greedy(points, budget).tolist())) >= (1 - 1 / math.e) * best


def test_past_a_half_more_is_less() -> None:
    points = points_of(cloud(40, 0, center=5))
    s, order = similarities(points), greedy(points, 40).tolist()
    values = [cut(s, set(order[:size])) for size in range(41)]
    assert 17 <= values.index(max(values)) <= 23
    assert values[40] == 0
    assert values[:17] == sorted(values[:17])
    assert values[23:] == sorted(values[23:], reverse=True)


def planted(seed: int) -> Tensor:
    """100 unit vectors, of which the first 30 are close to the mean of all."""
    generator = torch.Generator().manual_seed(seed)
    away = torch.cat([torch.full((30, 1), 0.1), torch.full((70, 1), 1.0)])
    x = torch.randn(100, 16, generator=generator) * away / 4
    x[:, 0] += 1
    return torch.nn.functional.normalize(x)


@pytest.mark.parametrize("seed", range(3))
def test_central_images_are_preferred(seed: int) -> None:
    chosen = sas(planted(seed), classes_of_one[:100], 0.2)
    assert int(chosen.max()) < 30


def test_the_penalty_spreads_the_choice() -> None:
    """Of two tight groups the larger one is central, but not all of the choice."""
    x = torch.zeros(30, 2)
    x[:18, 0] = x[18:, 1] = 1  # no similarity between them: each image adds what is left of its own
    chosen = sas(x, classes_of_one[:30], 0.5)
    assert (chosen < 18).sum() == 9
    assert chosen.tolist() == [*range(9), *range(18, 24)]


def test_classes_are_apart() -> None:
    x, classes = cloud(200, 3, center=2), torch.randint(3, (200,))
    chosen = sas(x, classes, 0.3)
    for k in range(3):
        own = classes == k
        budget = int(own[chosen].sum())
        expected = own.nonzero().flatten()[greedy(points_of(x[own]), budget)].sort().values
        assert chosen[own[chosen]].tolist() == expected.tolist()


@given(st.integers(0, 10**6))
def test_the_order_of_images_does_not_matter(seed: int) -> None:
    x = cloud(30, seed, center=1)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(seed))
    chosen, shuffled = sas(x, classes_of_one[:30], 0.3), sas(x[order], classes_of_one[:30], 0.3)
    assert order[shuffled].sort().values.tolist() == chosen.tolist()


def test_ties_go_to_the_lower_row() -> None:
    same = torch.ones(6, 1) / 2
    assert sas(same, classes_of_one[:6], 0.5).tolist() == [0, 1, 2]
    chosen = sas(cloud(4, 0, center=3).repeat(5, 1), classes_of_one[:20], 0.5)
    for which in range(4):
        own = chosen[chosen % 4 == which].tolist()
        assert own == [which + 4 * k for k in range(len(own))]


class Largest(TorchDispatchMode):
    """Entries of the largest tensor that any operation makes."""

    entries = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for x in made if isinstance(made, (tuple, list)) else [made]:
            if isinstance(x, Tensor):
                self.entries = max(self.entries, x.numel())
        return made


@pytest.mark.parametrize(
    ("choose", "entries"), [(sas, 6000 * 4), (paper2, 6000 * 4), (sas_topk, 1 << 22)]
)
def test_no_matrix_of_all_pairs(choose: Callable[..., Tensor], entries: int) -> None:
    """It would have 36 million entries for 6000 images of one class."""
    x, classes = cloud(6000, 0), torch.zeros(6000, dtype=torch.int64)
    with Largest() as largest:
        choose(x, classes, 0.01)
    assert 6000 * 4 <= largest.entries <= entries
