"""Confidence intervals, tests, power, ROC curves: of accuracies over seeds, mostly.

Distributions are scipy's, imported where used. The t tests take them from `scipy.special`, although
`scipy.stats` has these tests whole: with it, a report would take 0.9 s instead of 0.4 s.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist, fmean, stdev
from typing import Any

MAX_SEEDS = 10_000  # beyond it, nobody counts


@dataclass(frozen=True)
class Comparison:
    """A two-sided t test of a difference, and its interval.

    Attributes:
        difference: The mean difference, in the unit of the values.
        low: Lower end of its interval.
        high: Upper end.
        p: How often chance alone would make a difference this large. Values that do not vary give
            0, or 1 where the difference is 0.
        deviation: Standard deviation of the differences; in `welch`, of a pair of one value each.
        freedom: Degrees of freedom.
    """

    difference: float
    low: float
    high: float
    p: float
    deviation: float
    freedom: float


def wilson(correct: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion.

    It stays inside [0, 1] and is sensible for 0 and all correct, where the textbook interval has
    no width. It covers the sampling of the test images, not the randomness of training.

    Args:
        correct: Number of successes.
        total: Number of trials, at least 1.
        confidence: Coverage, in (0, 1).

    Returns:
        Lower and upper end, fractions in [0, 1].

    Raises:
        ValueError: The counts make no proportion, or the confidence is no probability.

    Source:
        Wilson, Probable inference, the law of succession, and statistical inference (1927).
    """
    if total < 1 or not 0 <= correct <= total:
        raise ValueError(f"expected 0 <= correct <= total and total >= 1, got {correct} of {total}")
    z = NormalDist().inv_cdf(0.5 + _coverage(confidence) / 2)
    p = correct / total
    weight = 1 / (1 + z * z / total)
    center = weight * (p + z * z / (2 * total))
    half = weight * z * math.sqrt(p * (1 - p) / total + z * z / (4 * total * total))
    # At the ends the exact answer is the end itself; rounding must not miss it.
    low = 0.0 if correct == 0 else max(0.0, center - half)
    high = 1.0 if correct == total else min(1.0, center + half)
    return low, high


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Return Student's t interval of the mean, for one value a seed.

    Args:
        values: At least two numbers, taken to be independent and about normal.
        confidence: Coverage, in (0, 1).

    Returns:
        Lower and upper end; the mean (`statistics.fmean`) is in the middle.

    Raises:
        ValueError: Fewer than two values, one that is not finite, or the confidence is no
            probability.
    """
    _check_finite(*values)
    if len(values) < 2:
        raise ValueError(f"an interval of a mean needs at least two values, got {len(values)}")
    half = _student(confidence, len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return fmean(values) - half, fmean(values) + half


def bootstrap_interval(
    values: Sequence[float],
    statistic: Callable[..., Any] | None = None,
    *,
    seed: int = 0,
    resamples: int = 9999,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of a statistic.

    For statistics without a formula, of twenty values or more. Of fewer it is too narrow: of five,
    nominal 95% cover the mean of a normal variable 83 times in 100; take `mean_interval`.

    Args:
        values: At least two, taken to be independent.
        statistic: An array of values -> a number; it is faster if it also takes `axis`, as
            functions of numpy do. Left out: the mean.
        seed: Equal seeds give equal intervals.
        resamples: Number of samples drawn with replacement.
        confidence: Coverage, in (0, 1).

    Returns:
        Lower and upper end, in the unit of the statistic.

    Raises:
        ValueError: Fewer than two values, or the confidence is no probability.

    Source:
        Efron and Tibshirani, An introduction to the bootstrap (1993), section 13.3.
    """
    import numpy as np
    from scipy.stats import bootstrap

    if len(values) < 2:
        raise ValueError(f"a bootstrap needs at least two values, got {len(values)}")
    interval = bootstrap(
        (np.asarray(values),),
        np.mean if statistic is None else statistic,
        n_resamples=resamples,
        confidence_level=_coverage(confidence),
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def paired(first: Sequence[float], second: Sequence[float], confidence: float = 0.95) -> Comparison:
    """Return the paired t test of first less second.

    Args:
        first: One number a seed, at least two; the differences are taken to be independent and
            about normal.
        second: As many, of the same seeds in the same order.
        confidence: Coverage of the interval, in (0, 1).

    Returns:
        The comparison; its deviation is what `power` and `seeds_needed` take.

    Raises:
        ValueError: Unequal numbers of values, fewer than two, one that is not finite, or a bad
            confidence.
    """
    _check_finite(*first, *second)
    if len(first) != len(second):
        raise ValueError(f"pairs need as many of both, got {len(first)} and {len(second)}")
    if len(first) < 2:
        raise ValueError(f"a paired test needs at least two pairs, got {len(first)}")
    differences = [a - b for a, b in zip(first, second, strict=True)]
    deviation = stdev(differences)
    error = deviation / math.sqrt(len(differences))
    return _comparison(fmean(differences), error, deviation, len(differences) - 1, confidence)


def welch(first: Sequence[float], second: Sequence[float], confidence: float = 0.95) -> Comparison:
    """Return Welch's t test of first less second, for values that make no pairs.

    Args:
        first: At least two numbers, taken to be independent and about normal.
        second: The same; their number and their variance may differ.
        confidence: Coverage of the interval, in (0, 1).

    Raises:
        ValueError: Fewer than two values on a side, one that is not finite, or a bad confidence.

    Source:
        Welch, The generalization of "Student's" problem (1947).
    """
    _check_finite(*first, *second)
    if min(len(first), len(second)) < 2:
        raise ValueError(
            f"Welch's test needs at least two values a side, got {len(first)} and {len(second)}"
        )
    spreads = [stdev(values) ** 2 for values in (first, second)]
    parts = [spread / len(values) for spread, values in zip(spreads, (first, second), strict=True)]
    squares = parts[0] ** 2 / (len(first) - 1) + parts[1] ** 2 / (len(second) - 1)
    freedom = sum(parts) ** 2 / squares if squares else len(first) + len(second) - 2
    error, deviation = math.sqrt(sum(parts)), math.sqrt(sum(spreads))
    return _comparison(fmean(first) - fmean(second), error, deviation, freedom, confidence)


def degradations(baseline: Sequence[float], values: Sequence[float]) -> list[float]:
    """Return what is lost of a baseline, relative to it, seed by seed.

    The ratio is taken within each seed, so that its mean has a t interval like any mean, and two
    methods are compared by `paired` of their degradations: no linear approximation of a ratio (the
    delta method) is needed. The mean of ratios is not quite the ratio of means.

    Args:
        baseline: One number a seed, above 0.
        values: As many, of the same seeds in the same order.

    Returns:
        1 - value / baseline, one a seed: 0.416 for a loss of 41.6%; negative for a gain.

    Raises:
        ValueError: Unequal numbers of values, one that is not finite, or a baseline that is not
            above 0.
    """
    _check_finite(*baseline, *values)
    if len(baseline) != len(values):
        raise ValueError(f"pairs need as many of both, got {len(baseline)} and {len(values)}")
    if min(baseline, default=1) <= 0:
        raise ValueError(f"a degradation needs a baseline above 0, got {min(baseline)}")
    return [1 - value / base for base, value in zip(baseline, values, strict=True)]


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values adjusted for their number by Holm's method.

    Rejecting those up to alpha keeps the chance of any false rejection among them below alpha,
    however the tests depend on each other.

    Args:
        p_values: In [0, 1].

    Returns:
        As many, in the same order, each at least as large.

    Raises:
        ValueError: One is no probability.

    Source:
        Holm, A simple sequentially rejective multiple test procedure (1979).
    """
    for p in p_values:
        if not 0 <= p <= 1:
            raise ValueError(f"expected p values from 0 to 1, got {p}")
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def power(difference: float, deviation: float, count: int, alpha: float = 0.05) -> float:
    """Return how often a two-sided paired t test finds a difference.

    Args:
        difference: The true mean difference.
        deviation: The true standard deviation of the differences, at least 0, in the same unit.
        count: Number of pairs, at least 2.
        alpha: Level of the test, in (0, 1).

    Returns:
        A probability, from the noncentral t distribution; alpha where the difference is 0.

    Raises:
        ValueError: An argument is outside its range.
    """
    from scipy.special import nctdtr

    _check_finite(difference, deviation)
    if count < 2 or not deviation >= 0:
        raise ValueError(f"no power of {count} pairs with a standard deviation of {deviation}")
    limit = _student(1 - _coverage(alpha), count - 1)
    if difference == 0:
        return alpha
    if deviation == 0:
        return 1.0
    shift = abs(difference) / deviation * math.sqrt(count)
    below, missed = (float(nctdtr(count - 1, shift, end)) for end in (-limit, limit))
    # scipy gives NaN instead of a probability that is too small for it.
    return 1 - (0 if math.isnan(missed) else missed) + (0 if math.isnan(below) else below)


def seeds_needed(
    difference: float, deviation: float, *, target: float = 0.8, alpha: float = 0.05
) -> int | None:
    """Return how many seeds a paired t test needs to find a difference.

    It is as good as the standard deviation that it is given: from five seeds, the true one is 0.6
    to 2.9 times as large (95%), and the number of seeds goes with its square.

    Args:
        difference: The mean difference to be found.
        deviation: Standard deviation of the differences, in the same unit.
        target: Power that is wanted, in (0, 1).
        alpha: Level of the test, in (0, 1).

    Returns:
        The least number of pairs with that power; None if it is above `MAX_SEEDS`.

    Raises:
        ValueError: An argument is outside its range.
    """
    low, high = 1, MAX_SEEDS  # too few, enough
    if power(difference, deviation, high, alpha) < _coverage(target):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if power(difference, deviation, middle, alpha) < target:
            low = middle
        else:
            high = middle
    return high


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Return Spearman's rank correlation; ties share their mean rank.

    Returns:
        A number in [-1, 1]; NaN where all values of a side are equal.

    Raises:
        ValueError: Unequal numbers of values, or fewer than two.
    """
    from scipy.stats import spearmanr

    if len(first) != len(second) or len(first) < 2:
        raise ValueError(f"ranks need two pairs or more, got {len(first)} and {len(second)} values")
    if min(len(set(first)), len(set(second))) == 1:
        return math.nan
    return float(spearmanr(first, second).statistic)


def roc(
    benign: Sequence[float], poisoned: Sequence[float]
) -> tuple[list[float], list[float], float]:
    """Return the receiver operating characteristic of a score.

    Args:
        benign: Scores of what should raise no alarm, at least one.
        poisoned: Scores of what should, at least one.

    Returns:
        False alarms and detections, fractions in [0, 1] that rise from 0 to 1 as the limit at which
        alarm is raised falls through all scores; and the area under the curve: how often a poisoned
        score is above a benign one, ties counting half.

    Raises:
        ValueError: There are no scores of one kind.
    """
    if not benign or not poisoned:
        raise ValueError("a ROC curve needs scores of both kinds, benign and poisoned")
    limits = sorted({*benign, *poisoned}, reverse=True)
    alarms, detections = (
        [0.0, *(sum(score >= limit for score in scores) / len(scores) for limit in limits)]
        for scores in (benign, poisoned)
    )
    corners = pairwise(zip(alarms, detections, strict=True))
    area = math.fsum((right - left) * (low + high) / 2 for (left, low), (right, high) in corners)
    return alarms, detections, area


def _comparison(
    difference: float, error: float, deviation: float, freedom: float, confidence: float
) -> Comparison:
    """The t test of a difference with a standard error."""
    from scipy.special import stdtr

    half = _student(confidence, freedom) * error
    p = 2 * float(stdtr(freedom, -abs(difference) / error)) if error else float(difference == 0)
    return Comparison(difference, difference - half, difference + half, p, deviation, freedom)


def _student(confidence: float, freedom: float) -> float:
    """The t that |T| stays below with this probability."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.5 + _coverage(confidence) / 2))


def _check_finite(*values: float) -> None:
    for value in values:
        if not math.isfinite(value):
            raise ValueError(f"expected finite numbers, got {value}")


def _coverage(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"expected a confidence between 0 and 1, such as 0.95, got {confidence}")
    return confidence
