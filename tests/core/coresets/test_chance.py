"""Random coresets are uniform, in each class too."""

import itertools
from collections import Counter

import torch
from scipy.stats import chisquare

from cptools.core.coresets.chance import balanced, random


def test_every_set_is_as_likely() -> None:
    seen = Counter(tuple(random(6, 0.5, seed=seed).tolist()) for seed in range(4000))
    sets = list(itertools.combinations(range(6), 3))
    assert set(seen) == set(sets)
    assert chisquare([seen[s] for s in sets]).pvalue > 1e-3


def test_every_set_of_each_class_is_as_likely() -> None:
    labels = torch.tensor([0, 1, 0, 1, 0, 1, 0])
    seen = Counter(tuple(balanced(labels, 0.5, seed=seed).tolist()) for seed in range(1800))
    sets = [
        tuple(sorted(zeros + ones))
        for zeros in itertools.combinations((0, 2, 4, 6), 2)
        for ones in itertools.combinations((1, 3, 5), 2)
    ]
    assert set(seen) == set(sets)
    assert chisquare([seen[s] for s in sets]).pvalue > 1e-3


def test_balanced_keeps_the_share_of_each_class() -> None:
    labels = torch.repeat_interleave(torch.tensor([3, 0, 7]), torch.tensor([500, 300, 200]))
    shares = labels[balanced(labels, 0.1, seed=0)].bincount()
    assert shares.tolist() == [30, 0, 0, 50, 0, 0, 0, 20]


def test_seeds_differ() -> None:
    labels = torch.zeros(50, dtype=torch.int64)
    draws = {tuple(random(50, 0.2, seed=s).tolist()) for s in range(20)}
    draws |= {tuple(balanced(labels, 0.2, seed=s).tolist()) for s in range(20)}
    assert len(draws) == 40
