"""Random numbers of images: SplitMix64 in Python's integers, and that they are random."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cptools.core.perturbations.draws import Draws

WORD = (1 << 64) - 1


def slow_words(key: int, num: int) -> list[int]:
    words = []
    for _ in range(num):
        key = (key + 0x9E3779B97F4A7C15) & WORD
        z = key
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & WORD
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & WORD
        words.append(z ^ (z >> 31))
    return words


def test_published_numbers() -> None:
    known = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431,
             16408922859458223821]  # fmt: skip
    words = Draws(torch.tensor([1234567])).bits(5)
    assert [word & WORD for word in words[0].tolist()] == known


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=4), st.integers(1, 20))
def test_words_in_pieces(keys: list[int], num: int) -> None:
    draws = Draws(torch.tensor(keys))
    words = torch.cat([draws.bits(num), draws.bits(3)], dim=1)
    for key, own in zip(keys, words.tolist(), strict=True):
        assert [word & WORD for word in own] == slow_words(key & WORD, num + 3)


def test_real_numbers_are_made_of_words() -> None:
    keys = torch.tensor([5, -7])
    uniform, normal = Draws(keys).uniform(2, 3), Draws(keys).normal(3)
    for key, us, ns in zip(keys.tolist(), uniform, normal, strict=True):
        words = slow_words(key & WORD, 6)
        assert us.flatten().tolist() == [(word >> 11) / 2**53 for word in words]
        pairs = [(((word >> 32) + 1) / 2**32, (word & 0xFFFFFFFF) / 2**32) for word in words[:2]]
        radii = [math.sqrt(-2 * math.log(u)) for u, _ in pairs]
        expected = [r * math.cos(math.tau * v) for r, (_, v) in zip(radii, pairs, strict=True)]
        expected.append(radii[0] * math.sin(math.tau * pairs[0][1]))
        assert ns.tolist() == pytest.approx(expected, abs=1e-12)


def test_moments_and_independence() -> None:
    draws = Draws.of(torch.arange(2000), 0, "moments")
    uniform, normal = draws.uniform(500), draws.normal(500)
    assert uniform.min() >= 0
    assert uniform.max() < 1
    assert uniform.mean() == pytest.approx(0.5, abs=5e-4 * 3)
    assert uniform.var() == pytest.approx(1 / 12, rel=0.01)
    moments = [normal.pow(k).mean().item() for k in (1, 2, 3, 4)]
    assert moments == pytest.approx([0, 1, 0, 3], abs=0.03)
    for other in (normal.roll(1, 0), normal.roll(1, 1), normal.roll(250, 1)):
        assert abs((normal * other).mean()) < 0.005
    share = torch.bincount(Draws.of(torch.arange(6000), 0, "n").integers(-1, 2) + 1) / 6000
    assert share.tolist() == pytest.approx([1 / 3] * 3, abs=0.03)


def test_a_row_is_all_that_counts() -> None:
    whole = Draws.of(torch.arange(50), 1, "a").normal(7)
    rows = torch.tensor([30, 2, 2, 49])
    assert torch.equal(Draws.of(rows, 1, "a").normal(7), whole[rows])
    assert not torch.equal(Draws.of(rows, 2, "a").normal(7), whole[rows])
    assert not torch.equal(Draws.of(rows, 1, "b").normal(7), whole[rows])
    assert Draws.of(torch.arange(0), 1, "a").normal(7).shape == (0, 7)


def test_pick_goes_on_and_fork_starts_anew() -> None:
    draws = Draws.of(torch.arange(9), 1, "a")
    fork = draws.fork(4).uniform(3)
    draws.uniform(5)
    assert torch.equal(draws.fork(4).uniform(3), fork)
    picked = draws.pick(torch.tensor([8, 0]))
    rest = draws.uniform(2)
    assert torch.equal(picked.uniform(2), rest[[8, 0]])
    forks = torch.stack([draws.fork(k).uniform(2) for k in range(3)])
    assert forks.flatten().unique().numel() == forks.numel()
