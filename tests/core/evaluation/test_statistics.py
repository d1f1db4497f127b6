"""Intervals against published values and their own definitions."""

import math
import random
from collections.abc import Callable
from itertools import pairwise
from statistics import NormalDist, fmean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cptools.core.evaluation.statistics import (
    MAX_SEEDS,
    bootstrap_interval,
    degradations,
    holm,
    mean_interval,
    paired,
    power,
    rank_correlation,
    roc,
    seeds_needed,
    welch,
    wilson,
)

# Student's example: hours of sleep gained by ten patients with two drugs.
SLEEP = (
    [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0],
    [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4],
)


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [
        # Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_equals_newcombes_table(correct: int, total: int, low: float, high: float) -> None:
    assert wilson(correct, total) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 10**6), st.floats(0, 1), st.floats(0.01, 0.999))
def test_wilson_solves_its_equation(total: int, share: float, confidence: float) -> None:
    """Its ends are the p at which |correct / total - p| is z standard errors of that p."""
    correct = round(share * total)
    low, high = wilson(correct, total, confidence)
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    assert 0 <= low <= correct / total <= high <= 1
    for end in (low, high):
        if 0 < end < 1:
            error = abs(correct / total - end) - z * math.sqrt(end * (1 - end) / total)
            assert abs(error) < 1e-6
    flipped = wilson(total - correct, total, confidence)
    assert flipped == pytest.approx((1 - high, 1 - low), abs=1e-9)


@given(st.integers(1, 300), st.floats(0, 1))
def test_wilson_equals_scipys(total: int, share: float) -> None:
    correct = round(share * total)
    theirs = stats.binomtest(correct, total).proportion_ci(method="wilson")
    assert wilson(correct, total) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


@pytest.mark.parametrize(
    ("confidence", "count", "quantile"),
    [
        # The usual table of the t distribution.
        (0.95, 2, 12.706),
        (0.95, 3, 4.303),
        (0.95, 5, 2.776),
        (0.9, 6, 2.015),
        (0.99, 10, 3.250),
        (0.95, 121, 1.980),
    ],
)
def test_mean_interval_is_students(confidence: float, count: int, quantile: float) -> None:
    values = [float(k % 2) for k in range(count)]
    low, high = mean_interval(values, confidence)
    half = quantile * np.std(values, ddof=1) / math.sqrt(count)
    assert (high - low) / 2 == pytest.approx(half, rel=2e-4)
    assert (high + low) / 2 == pytest.approx(fmean(values))


def test_mean_interval_of_a_worked_example() -> None:
    low, high = mean_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (low + high) / 2 == pytest.approx(3)
    assert (high - low) / 2 == pytest.approx(2.7764 * math.sqrt(2.5 / 5), abs=1e-4)
    assert mean_interval([0.7, 0.7]) == pytest.approx((0.7, 0.7))


def test_mean_interval_covers_as_often_as_it_says() -> None:
    rng = random.Random(0)
    hits = 0
    for _ in range(2000):
        low, high = mean_interval([rng.gauss(3, 2) for _ in range(4)], 0.9)
        hits += low <= 3 <= high
    assert abs(hits / 2000 - 0.9) < 4 * math.sqrt(0.09 / 2000)


def test_wider_with_more_confidence() -> None:
    values = [0.4, 0.5, 0.7]
    widths = [high - low for low, high in (mean_interval(values, c) for c in (0.5, 0.9, 0.99))]
    assert widths == sorted(widths)
    assert fmean(mean_interval(values, 0.5)) == pytest.approx(fmean(values))


def test_bootstrap_is_seeded_and_covers_as_often_as_documented() -> None:
    rng = np.random.default_rng(0)
    hits = {5: 0, 30: 0}
    for count in hits:
        for seed in range(400):
            low, high = bootstrap_interval(rng.normal(size=count), seed=seed, resamples=400)
            hits[count] += low <= 0 <= high
    assert abs(hits[30] / 400 - 0.94) < 4 * math.sqrt(0.06 * 0.94 / 400)
    assert abs(hits[5] / 400 - 0.83) < 4 * math.sqrt(0.17 * 0.83 / 400)
    values = [1.0, 2.0, 4.0, 8.0]
    first = bootstrap_interval(values, seed=1, resamples=99)
    assert first == bootstrap_interval(values, seed=1, resamples=99)
    assert first != bootstrap_interval(values, seed=2, resamples=99)


def test_bootstrap_of_any_statistic() -> None:
    # The middle one of three: each is the median of 7, 13 and 7 of the 27 samples.
    assert bootstrap_interval([1.0, 2.0, 5.0], np.median) == (1, 5)
    assert bootstrap_interval([1.0, 2.0, 5.0], np.median, confidence=0.4) == (2, 2)
    assert bootstrap_interval([1.0, 3.0], lambda sample: 2.0 * max(sample)) == (2, 6)
    assert bootstrap_interval([0.5, 0.5]) == (0.5, 0.5)


def test_paired_and_welch_of_students_example() -> None:
    """As R prints for its data set `sleep`."""
    test = paired(*SLEEP)
    assert (test.difference, test.freedom) == (pytest.approx(-1.58), 9)
    assert (test.low, test.high) == pytest.approx((-2.4598858, -0.7001142), abs=1e-7)
    assert test.p == pytest.approx(0.002833, abs=1e-6)
    assert test.deviation == pytest.approx(1.229995, abs=1e-6)
    test = welch(*SLEEP)
    assert (test.difference, test.freedom) == (
        pytest.approx(-1.58),
        pytest.approx(17.776, abs=1e-3),
    )
    assert (test.low, test.high) == pytest.approx((-3.3654832, 0.2054832), abs=1e-7)
    assert test.p == pytest.approx(0.07939, abs=1e-5)


@given(st.integers(2, 8), st.integers(2, 8), st.integers(0, 99), st.floats(0.5, 0.99))
def test_tests_equal_scipys(n: int, m: int, seed: int, confidence: float) -> None:
    rng = np.random.default_rng(seed)
    a, b, c = rng.normal(size=n).tolist(), rng.normal(1, 3, n).tolist(), rng.normal(size=m).tolist()
    pairs = (
        (paired(a, b, confidence), stats.ttest_rel(a, b)),
        (welch(a, c, confidence), stats.ttest_ind(a, c, equal_var=False)),
    )
    for ours, theirs in pairs:
        interval = theirs.confidence_interval(confidence)
        assert (ours.p, ours.freedom) == pytest.approx((theirs.pvalue, theirs.df))
        assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high))


def test_values_that_do_not_vary() -> None:
    for test in (paired, welch):
        same, other = test([0.5, 0.5], [0.5, 0.5]), test([0.5, 0.5], [0.25, 0.25])
        assert (same.low, same.high, same.p) == (0, 0, 1)
        assert (other.low, other.high, other.p) == (0.25, 0.25, 0)


def test_degradations_are_those_of_the_comparison() -> None:
    moco, simclr = degradations([72.4, 74.8], [42.3, 42.9])
    assert (moco, simclr) == pytest.approx((0.416, 0.426), abs=5e-4)
    assert degradations([0.5], [0.75]) == [-0.5]


def test_the_interval_of_a_difference_of_degradations_covers() -> None:
    """Seeds move both accuracies of a method together; 0.1 of one and 0.15 of the other is lost."""
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(2000):
        clean = rng.normal((70, 80), 3, (5, 2))
        lossy = clean * (1 - rng.normal((0.1, 0.15), 0.02, (5, 2)))
        first, second = (degradations(clean[:, k].tolist(), lossy[:, k].tolist()) for k in (0, 1))
        test = paired(first, second)
        hits += test.low <= -0.05 <= test.high
    assert abs(hits / 2000 - 0.95) < 4 * math.sqrt(0.05 * 0.95 / 2000)


def test_holm_of_a_worked_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_keeps_the_chance_of_any_false_alarm() -> None:
    p_values = np.random.default_rng(0).uniform(size=(4000, 5))
    alarms = sum(min(holm(row.tolist())) <= 0.1 for row in p_values) / 4000
    exact = 1 - (1 - 0.1 / 5) ** 5
    assert abs(alarms - exact) < 4 * math.sqrt(exact * (1 - exact) / 4000)


@pytest.mark.parametrize(
    ("effect", "count"),
    [(0.2, 199), (0.5, 34), (0.8, 15), (1.0, 10)],  # as G*Power has it, for power 0.8 at 0.05
)
def test_seeds_needed_equal_the_table(effect: float, count: int) -> None:
    assert seeds_needed(3 * effect, 3) == seeds_needed(-effect, 1) == count
    assert power(effect, 1, count - 1) < 0.8 <= power(effect, 1, count)


def test_power_is_how_often_the_test_finds_it() -> None:
    rng = np.random.default_rng(0)
    for difference, count in ((1.0, 2), (0.5, 5), (2.0, 5)):
        found = fmean(
            paired(row, [0] * count).p < 0.1 for row in rng.normal(difference, 1, (3000, count))
        )
        expected = power(difference, 1, count, alpha=0.1)
        assert abs(found - expected) < 4 * math.sqrt(expected * (1 - expected) / 3000)


def test_power_at_the_ends() -> None:
    assert power(0, 1, 5) == power(0, 0, 5) == 0.05
    assert power(1e-9, 1, 5) == pytest.approx(0.05)
    assert power(1, 0, 2) == power(1, 1e-9, 2) == power(60, 1, 5) == 1
    rising = [power(d / 4, 1, 5) for d in range(400)]
    assert rising == sorted(rising)
    assert seeds_needed(1, 0) == 2
    assert seeds_needed(0, 1) is None
    least = 2.802 / math.sqrt(MAX_SEEDS)  # 1.960 + 0.842
    assert seeds_needed(0.999 * least, 1) is None
    assert seeds_needed(1.001 * least, 1) == pytest.approx(MAX_SEEDS, rel=0.003)


def test_rank_correlation() -> None:
    assert rank_correlation([1, 2, 3], [10, 11, 99]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3, 4], [2, 1, 4, 3]) == pytest.approx(1 - 6 * 4 / (4 * 15))
    assert rank_correlation([1, 1, 2], [1, 2, 3]) == pytest.approx(math.sqrt(3) / 2)
    assert math.isnan(rank_correlation([1, 1], [1, 2]))


scores = st.lists(st.integers(0, 6).map(lambda k: k / 4), min_size=1, max_size=9)


@given(scores, scores)
def test_area_under_the_roc_counts_pairs(benign: list[float], poisoned: list[float]) -> None:
    alarms, detections, area = roc(benign, poisoned)
    pairs = [(b < p) + (b == p) / 2 for b in benign for p in poisoned]
    assert area == pytest.approx(sum(pairs) / len(pairs))
    points = list(zip(alarms, detections, strict=True))
    assert (points[0], points[-1]) == ((0, 0), (1, 1))
    assert all(a <= c and b <= d for (a, b), (c, d) in pairwise(points))
    for limit in range(8):  # every limit has its point
        rates = [sum(4 * s >= limit for s in kind) / len(kind) for kind in (benign, poisoned)]
        assert tuple(rates) in points


def test_roc_of_a_worked_example() -> None:
    assert roc([0.1, 0.4], [0.4, 0.3, 2.0]) == (
        [0, 0, 0.5, 0.5, 1], pytest.approx([0, 1 / 3, 2 / 3, 1, 1]), pytest.approx(4.5 / 6),
    )  # fmt: skip


def test_bad_arguments_are_refused() -> None:
    for empty in (([], [1.0]), ([1.0], [])):
        with pytest.raises(ValueError, match="needs scores of both kinds"):
            roc(*empty)
    with pytest.raises(ValueError, match="got 3 of 2"):
        wilson(3, 2)
    with pytest.raises(ValueError, match="got 0 of 0"):
        wilson(0, 0)
    with pytest.raises(ValueError, match="got 95"):
        wilson(1, 2, 95)
    with pytest.raises(ValueError, match="at least two values, got 1"):
        mean_interval([1.0])
    with pytest.raises(ValueError, match="a bootstrap needs at least two values, got 1"):
        bootstrap_interval([1.0])
    with pytest.raises(ValueError, match="as many of both, got 2 and 1"):
        paired([1, 2], [1])
    with pytest.raises(ValueError, match="at least two pairs, got 1"):
        paired([1], [1])
    with pytest.raises(ValueError, match="got 2 and 1"):
        welch([1, 2], [1])
    with pytest.raises(ValueError, match="as many of both, got 1 and 2"):
        degradations([1], [1, 2])
    with pytest.raises(ValueError, match="a baseline above 0, got 0"):
        degradations([1, 0], [1, 1])
    for count, deviation in ((1, 1), (5, -1)):
        with pytest.raises(ValueError, match="no power of"):
            power(1, deviation, count)
    for bad in (0, 1, 80):
        with pytest.raises(ValueError, match=f"got {bad}"):
            seeds_needed(1, 1, target=bad)
    for sides in (([1], [1]), ([1, 2], [1])):
        with pytest.raises(ValueError, match="two pairs or more"):
            rank_correlation(*sides)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_is_refused(bad: float) -> None:
    calls: list[Callable[[], object]] = [
        lambda: mean_interval([1, bad]),
        lambda: paired([1, bad], [1, 2]),
        lambda: paired([1, 2], [1, bad]),
        lambda: welch([1, 2], [bad, 1]),
        lambda: degradations([1, bad], [1, 2]),
        lambda: degradations([1, 2], [bad, 1]),
        lambda: power(bad, 1, 5),
        lambda: power(1, bad, 5),
        lambda: seeds_needed(bad, 1),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"expected finite numbers, got (nan|inf)"):
            call()


@pytest.mark.parametrize("bad", [math.nan, -0.1, 2.0])
def test_what_is_no_probability_is_not_adjusted(bad: float) -> None:
    with pytest.raises(ValueError, match="expected p values from 0 to 1, got"):
        holm([bad, 0.5])
