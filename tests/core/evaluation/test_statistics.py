"""Intervals against published values and their own definitions."""

import math
import random
from itertools import pairwise
from statistics import NormalDist, fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cptools.core.evaluation.statistics import mean_interval, roc, student_quantile, wilson


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


@pytest.mark.parametrize(
    ("probability", "freedom", "value"),
    [
        # The usual table of the t distribution.
        (0.975, 1, 12.706),
        (0.975, 2, 4.303),
        (0.975, 3, 3.182),
        (0.975, 4, 2.776),
        (0.95, 5, 2.015),
        (0.995, 9, 3.250),
        (0.975, 10, 2.228),
        (0.9, 30, 1.310),
        (0.975, 120, 1.980),
        (0.025, 4, -2.776),
        (0.5, 7, 0.0),
    ],
)
def test_student_quantile_equals_the_table(probability: float, freedom: int, value: float) -> None:
    assert student_quantile(probability, freedom) == pytest.approx(value, abs=6e-4)


def test_student_quantile_closed_forms() -> None:
    for p in (0.6, 0.9, 0.975, 0.9995):
        assert student_quantile(p, 1) == pytest.approx(math.tan(math.pi * (p - 0.5)), rel=1e-9)
        two = (2 * p - 1) * math.sqrt(2 / (4 * p * (1 - p)))
        assert student_quantile(p, 2) == pytest.approx(two, rel=1e-9)
        assert student_quantile(p, 10**4) == pytest.approx(NormalDist().inv_cdf(p), rel=1e-3)


@given(st.integers(1, 40), st.floats(0.51, 0.99))
@settings(max_examples=30, deadline=None)
def test_student_quantile_inverts_the_integral_of_the_density(freedom: int, p: float) -> None:
    t, steps = student_quantile(p, freedom), 2000
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2))
    scale /= math.sqrt(freedom * math.pi)

    def density(x: float) -> float:
        return scale * (1 + x * x / freedom) ** (-(freedom + 1) / 2)

    h = t / steps  # Simpson
    odd = sum(density((2 * i + 1) * h) for i in range(steps // 2))
    even = sum(density(2 * i * h) for i in range(1, steps // 2))
    integral = h / 3 * (density(0) + density(t) + 4 * odd + 2 * even)
    assert 0.5 + integral == pytest.approx(p, abs=1e-6)


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
    with pytest.raises(ValueError, match="degrees of freedom"):
        student_quantile(0.9, 0)
