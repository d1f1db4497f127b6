"""Budgets against fractions of whole numbers; latent classes that are plain to see."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from cptools.core.coresets.budgets import budgets, choose_in_each, kept, latent_classes

sizes = st.lists(st.integers(1, 60), min_size=1, max_size=12)


def largest_remainder(counts: list[int], total: int) -> list[int]:
    """Hamilton's method, a seat at a time."""
    quotas = [Fraction(count * total, sum(counts)) for count in counts]
    seats = [int(quota) for quota in quotas]
    while sum(seats) < total:
        seats[max(range(len(seats)), key=lambda k: (quotas[k] - seats[k], -k))] += 1
    return seats


@given(sizes, st.floats(0.001, 1))
def test_budgets_are_of_largest_remainder(counts: list[int], fraction: float) -> None:
    total = round(fraction * sum(counts))
    if total < len(counts):
        with pytest.raises(ValueError, match=r"empty; take|keeps none; take more"):
            budgets(torch.tensor(counts), fraction)
        return
    got, expected = (
        budgets(torch.tensor(counts), fraction).tolist(),
        largest_remainder(counts, total),
    )
    assert sum(got) == total
    assert all(1 <= share <= count for share, count in zip(got, counts, strict=True))
    if 0 not in expected:
        assert got == expected
    else:
        assert [share == 1 for share, quota in zip(got, expected, strict=True) if not quota] == [
            True
        ] * expected.count(0)
        assert all(share <= quota for share, quota in zip(got, expected, strict=True) if quota)


def test_the_image_of_a_starving_class_comes_from_the_one_rounded_up_most() -> None:
    counts = torch.tensor([48, 44, 1, 7])  # quotas of 20 images: 9.6, 8.8, 0.2, 1.4
    assert largest_remainder(counts.tolist(), 20) == [10, 9, 0, 1]
    assert budgets(counts, 0.2).tolist() == [9, 9, 1, 1]


def test_ties_go_to_the_lower_class() -> None:
    assert budgets(torch.tensor([5, 5, 5, 5]), 0.3).tolist() == [2, 2, 1, 1]


def test_a_fraction_that_is_too_small_says_which_is_not() -> None:
    counts = torch.tensor([1500, 1500, 7])
    message = r"fraction 0.0005 keeps 2 of 3007 images, which leaves one of the 3 classes empty; "
    with pytest.raises(ValueError, match=message + r"take 0\.001 or more"):
        budgets(counts, 0.0005)
    assert budgets(counts, 0.001).tolist() == [1, 1, 1]


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.01, float("nan")])
def test_fractions_out_of_range_are_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match=r"expected fraction in \(0, 1\]"):
        kept(10, fraction)


def test_a_fraction_of_nothing_is_refused() -> None:
    assert kept(10, 0.06) == 1
    with pytest.raises(ValueError, match=r"fraction 0\.04 of 10 images keeps none; take more"):
        kept(10, 0.04)


def test_rows_are_chosen_within_classes_that_have_images() -> None:
    labels, seen = torch.tensor([4, 9, 4, 4, 9, 4]), []

    def last(rows: Tensor, budget: int) -> Tensor:
        seen.append(rows.tolist())
        return torch.arange(len(rows))[-budget:].flip(0)

    assert choose_in_each(labels, 0.5, last).tolist() == [3, 4, 5]
    assert seen == [[0, 2, 3, 5], [1, 4]]


def test_latent_classes_are_clusters() -> None:
    own = torch.arange(120) % 4
    generator = torch.Generator().manual_seed(0)
    features = 9 * torch.eye(4)[own] + 0.1 * torch.randn(120, 4, generator=generator)
    found = latent_classes(features, 4, seed=1)
    assert found.dtype == torch.int64
    assert len(set(zip(own.tolist(), found.tolist(), strict=True))) == 4
    assert torch.equal(found, latent_classes(features, 4, seed=1))
    assert any(not torch.equal(found, latent_classes(features, 4, seed=s)) for s in range(2, 6))


def test_more_latent_classes_than_images_are_refused() -> None:
    with pytest.raises(ValueError, match="3 images cannot make 4 latent classes; take fewer"):
        latent_classes(torch.randn(3, 2), 4, seed=0)
