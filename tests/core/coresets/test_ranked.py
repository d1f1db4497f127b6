"""What SAS's release computes, by a slow loop of its own steps; the second paper's formula."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from cptools.core.coresets.ranked import paper2, positive_sums, sas_topk
from cptools.core.coresets.sas import GRID, on_grid, sas


def units(num: int, seed: int, *, center: float = 0.0) -> Tensor:
    x = torch.randn(num, 6, generator=torch.Generator().manual_seed(seed))
    x[:, 0] += center
    return torch.nn.functional.normalize(x)


def one(num: int) -> Tensor:
    return torch.zeros(num, dtype=torch.int64)


def dot(a: list[float], b: list[float]) -> float:
    return sum(p * q for p, q in zip(a, b, strict=True))


def cosines(x: Tensor) -> Tensor:
    """In whole numbers, as far as they are rounded."""
    points = on_grid(x, torch.arange(len(x))).long()
    return points @ points.T


def released(similarity: Tensor, budget: int, *, slip: bool) -> list[int]:
    """Greedy by the release's gain: row e less what the chosen have in column e.

    Choosing clears the chosen row, or as intended the chosen column.
    """
    left: Tensor = similarity.clamp(min=0)
    chosen: list[int] = []
    for _ in range(budget):
        gains = [
            (int(left[e].sum()) - sum(int(left[j, e]) for j in chosen), -e)
            for e in range(len(left))
            if e not in chosen
        ]
        best = -max(gains)[1]
        chosen.append(best)
        if slip:
            left[best] = 0
        else:
            left[:, best] = 0
    return sorted(chosen)


@given(st.integers(2, 25), st.integers(0, 10**6), st.sampled_from([0.0, 1.0, 3.0]))
def test_topk_is_what_the_release_computes(num: int, seed: int, center: float) -> None:
    x, budget = units(num, seed, center=center), math.ceil(0.4 * num)
    expected = released(cosines(x), budget, slip=True)
    assert sas_topk(x, one(num), budget / num).tolist() == expected


@given(st.integers(2, 25), st.integers(0, 10**6))
def test_without_the_slip_the_release_is_sas(num: int, seed: int) -> None:
    """Where no cosine is negative; it counts each image's similarity to itself, which is 1."""
    x, budget = units(num, seed).abs(), math.ceil(0.4 * num)
    s = cosines(x)
    s.fill_diagonal_(GRID**2)
    assert sas(x, one(num), budget / num).tolist() == released(s, budget, slip=False)


def test_the_penalty_makes_a_difference() -> None:
    x = units(200, 0, center=2)
    topk, penalized = sas_topk(x, one(200), 0.4), sas(x, one(200), 0.4)
    common = set(topk.tolist()) & set(penalized.tolist())
    assert 20 < len(common) < 75  # of 80; the one inside the other by chance: 32


def test_negative_cosines_count_as_none() -> None:
    x = torch.tensor([[1.0, 0], [0.6, 0.8], [0.6, -0.8], [-1, 0], [-0.96, 0.28]])
    points = on_grid(x, torch.arange(5))
    sums = [sum(max(0.0, dot(a, b)) for b in x.tolist()) for a in x.tolist()]
    assert (positive_sums(points) / GRID**2).tolist() == pytest.approx(sums, abs=1e-4)
    assert sas_topk(x, one(5), 0.2).tolist() == [0]


@pytest.mark.parametrize("entries", [1, 100, 250, 1 << 22])
def test_blocks_give_the_same(entries: int) -> None:
    points = on_grid(units(50, 1), torch.arange(50))
    expected = (points.long() @ points.long().T).clamp(min=0).sum(1)
    assert torch.equal(positive_sums(points, entries=entries).long(), expected)


@given(st.integers(4, 40), st.integers(0, 10**6), st.integers(1, 3))
def test_paper2_leaves_what_topk_keeps(num: int, seed: int, budget: int) -> None:
    """Its sign is the opposite: exactly so where no cosine is negative."""
    x = units(num, seed).abs()
    least = paper2(x, one(num), budget / num).tolist()
    most = sas_topk(x, one(num), (num - budget) / num).tolist()
    assert sorted(least + most) == list(range(num))


def test_paper2_is_the_formula() -> None:
    x, labels = units(60, 2, center=1), torch.arange(60) % 2
    got = paper2(x, labels, 0.2)
    for k in range(2):
        own = (labels == k).nonzero().flatten().tolist()
        d = {j: sum(dot(x[i].tolist(), x[j].tolist()) for i in own) for j in own}
        expected = sorted(sorted(own, key=d.__getitem__)[:6])
        assert got[labels[got] == k].tolist() == expected


@pytest.mark.parametrize("seed", range(3))
def test_paper2_avoids_the_center(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(100, 16, generator=generator) / 4
    x[:30] /= 10
    x[:, 0] += 1
    x = torch.nn.functional.normalize(x)
    assert int(paper2(x, one(100), 0.2).min()) >= 30
    assert int(sas_topk(x, one(100), 0.2).max()) < 30


def test_ties_go_to_the_lower_row() -> None:
    x = units(3, 0, center=4).repeat(4, 1)
    same = units(1, 0).repeat(7, 1)
    for choose in (sas_topk, paper2):
        assert choose(same, one(7), 3 / 7).tolist() == [0, 1, 2]
        chosen = choose(x, one(12), 0.5)
        for which in range(3):
            own = chosen[chosen % 3 == which].tolist()
            assert own == [which + 3 * k for k in range(len(own))]
