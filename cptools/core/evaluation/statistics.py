"""Confidence intervals and ROC curves, in pure Python."""

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import NormalDist, fmean, stdev


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
        ValueError: Fewer than two values, or the confidence is no probability.
    """
    if len(values) < 2:
        raise ValueError(f"an interval of a mean needs at least two values, got {len(values)}")
    quantile = student_quantile(0.5 + _coverage(confidence) / 2, len(values) - 1)
    half = quantile * stdev(values) / math.sqrt(len(values))
    return fmean(values) - half, fmean(values) + half


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


def student_quantile(probability: float, freedom: int) -> float:
    """Return the t that a Student variable stays below with a probability.

    Bisection on the closed form of the distribution for whole degrees of freedom.

    Args:
        probability: In (0, 1).
        freedom: Degrees of freedom, at least 1.

    Returns:
        The quantile, to about 12 digits.

    Raises:
        ValueError: An argument is outside its range.
    """
    if not 0 < probability < 1 or freedom < 1:
        raise ValueError(f"no quantile {probability} for {freedom} degrees of freedom")
    if probability < 0.5:
        return -student_quantile(1 - probability, freedom)
    low, high = 0.0, math.pi / 2  # t = sqrt(freedom) tan(theta)
    for _ in range(100):
        middle = (low + high) / 2
        if _central(middle, freedom) < 2 * probability - 1:
            low = middle
        else:
            high = middle
    return math.sqrt(freedom) * math.tan(low)


def _central(theta: float, freedom: int) -> float:
    """P(|T| < sqrt(freedom) tan(theta)): Abramowitz and Stegun 26.7.3 (odd) and 26.7.4 (even)."""
    sine, cosine = math.sin(theta), math.cos(theta)
    odd = freedom % 2
    term = cosine if odd else 1.0
    total = term if freedom > 1 else 0.0
    for k in range(2 + odd, freedom - 1, 2):  # factors 1/2, 3/4, ... or 2/3, 4/5, ...
        term *= cosine * cosine * (k - 1) / k
        total += term
    return 2 / math.pi * (theta + sine * total) if odd else sine * total


def _coverage(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"expected a confidence between 0 and 1, such as 0.95, got {confidence}")
    return confidence
