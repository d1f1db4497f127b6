"""Which rows of a dataset to keep: by class, by number, by a held-out fraction.

Only labels are looked at, so a source decides before it decodes a single image. Every choice is
stratified (each class keeps its share, up to rounding) and made by a seed; rows keep their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]
Rows = NDArray[np.int64]

_STATISTICS_BATCH = 4096  # images; 8-bit sums of a batch are exact in int64 whatever its size
_TRAIN, _TEST, _HOLDOUT = 0, 1, 2  # independent streams of one seed


@dataclass(frozen=True, eq=False)
class Selection:
    """Rows of both splits, and the classes left.

    Attributes:
        train: int64 (N,), rows of the given training split, ascending.
        test: int64 (M,), ascending rows of the given test split, or of the training split where
            `held_out` is true.
        held_out: Whether the test images were split off the training images.
        classes: Old labels by new label, ascending: see `relabel`.
    """

    train: Rows
    test: Rows
    held_out: bool
    classes: tuple[int, ...]


def subset(
    labels: Labels,
    *,
    limit: int | None = None,
    fraction: float | None = None,
    classes: Sequence[int] | None = None,
    seed: int | np.random.SeedSequence = 0,
) -> Rows:
    """Stratified choice of rows.

    Args:
        labels: int64 (N,), >= 0.
        limit: Rows to keep in all, >= 1; each class gets its share, rounded by largest remainder
            (ties: lower label first). None, or a limit of N or more, keeps all.
        fraction: The same as a share of the rows, in (0, 1], rounded; in place of `limit`.
        classes: Labels to keep, applied before `limit`. None keeps all.
        seed: Seed of the choice within each class.

    Returns:
        int64 (min(N, limit),) ascending rows.

    Raises:
        ValueError: `limit` is below 1, `fraction` out of range, or both are given.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"expected limit at least 1, got {limit}")
    if fraction is not None and limit is not None:
        raise ValueError("a limit and a fraction are given; give one of them")
    if fraction is not None and not 0 < fraction <= 1:
        raise ValueError(f"expected fraction in (0, 1], got {fraction}")
    rows = np.arange(len(labels), dtype=np.int64)
    if classes is not None:
        rows = rows[np.isin(labels, np.asarray(classes, dtype=np.int64))]
    if fraction is not None:
        limit = round(fraction * len(rows))
    if limit is None or limit >= len(rows):
        return rows
    return _stratified(labels, rows, limit, seed)


def holdout(labels: Labels, fraction: float, seed: int = 0) -> tuple[Rows, Rows]:
    """Split rows into those kept for training and those held out for testing.

    Args:
        labels: int64 (N,), >= 0.
        fraction: Share to hold out of every class, in (0, 1).
        seed: Seed of the choice.

    Returns:
        (kept, held): ascending rows; together all of them.

    Raises:
        ValueError: `fraction` is out of range, or leaves a split without images.
    """
    if not 0.0 < fraction < 1.0:
        raise ValueError(f"expected holdout between 0 and 1, got {fraction}")
    rows = np.arange(len(labels), dtype=np.int64)
    count = round(len(rows) * fraction)
    if not 0 < count < len(rows):
        raise ValueError(f"holdout {fraction} of {len(rows)} images leaves a split empty")
    held = _stratified(labels, rows, count, _stream(seed, _HOLDOUT))
    kept = np.setdiff1d(rows, held, assume_unique=True)
    lost = np.setdiff1d(labels, labels[kept])
    if len(lost):
        raise ValueError(f"holdout {fraction} leaves class {lost[0]} no training image")
    return kept, held


def select(
    train_labels: Labels,
    test_labels: Labels | None,
    names: Sequence[str],
    *,
    limit: int | None = None,
    fraction: float | None = None,
    limit_test: int | None = None,
    classes: Sequence[str] | None = None,
    holdout: float | None = None,
    seed: int = 0,
) -> Selection:
    """Decide on all rows of a dataset: hold out, then keep classes, then limit each split.

    Args:
        train_labels: int64 (N,).
        test_labels: int64 (M,), or None where the source has no test split.
        names: Class names, by label.
        limit: Training images to keep, stratified; None keeps all.
        fraction: The same as a share of them, in (0, 1], in place of `limit`.
        limit_test: Test images to keep, stratified; None keeps all.
        classes: Names of classes to keep, in any order; None keeps all.
        holdout: Fraction of the training split to test on, 0 for no test split; needed where
            `test_labels` is None and refused where it is not.
        seed: Seed of all choices; the splits use independent streams of it.

    Returns:
        The rows of both splits.

    Raises:
        ValueError: An option is out of range, contradicts the source, or leaves a split empty.
    """
    chosen = _labels_of(classes, names)
    held_out = test_labels is None
    if test_labels is None:
        if holdout is None:
            raise ValueError(
                "there is no test split; give `holdout=FRACTION` (such as 0.2) to make one,"
                " or `holdout=0` to do without"
            )
        kept = held = np.arange(len(train_labels), dtype=np.int64)
        if holdout == 0:
            held = held[:0]
        else:
            kept, held = _holdout(train_labels, holdout, seed)
    else:
        if holdout is not None:
            raise ValueError("there is a test split already; leave `holdout` out")
        kept = np.arange(len(train_labels), dtype=np.int64)
        held = np.arange(len(test_labels), dtype=np.int64)
    from_labels = train_labels if test_labels is None else test_labels
    train = kept[
        subset(
            train_labels[kept],
            limit=limit,
            fraction=fraction,
            classes=chosen,
            seed=_stream(seed, _TRAIN),
        )
    ]
    test = held[
        subset(from_labels[held], limit=limit_test, classes=chosen, seed=_stream(seed, _TEST))
    ]
    for split, rows, given in (("training", train, kept), ("test", test, held)):
        if not len(rows) and (len(given) or split == "training"):
            raise ValueError(f"the choice leaves no {split} image; choose more")
    return Selection(train, test, held_out, chosen)


_holdout = holdout  # `select` has a parameter of this name


def relabel(labels: Labels, classes: Sequence[int]) -> Labels:
    """New labels: the position in `classes` of each old label, int64 (N,).

    Raises:
        ValueError: A label is not among `classes`.
    """
    order = np.argsort(np.asarray(classes, dtype=np.int64))
    ordered = np.asarray(classes, dtype=np.int64)[order]
    at = np.searchsorted(ordered, labels)
    if len(labels) and (at.max() >= len(ordered) or not np.array_equal(ordered[at], labels)):
        raise ValueError(f"labels hold a class that is not in {list(classes)}")
    return order[at].astype(np.int64)


def channel_statistics(
    images: NDArray[np.uint8],
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation of each channel's pixels, in [0, 1].

    Sums are of integers, hence exact and independent of order; the result is rounded to six
    decimals so that headers stay short.

    Args:
        images: uint8 (N, 3, H, W), N >= 1.

    Returns:
        (mean, std), three floats each; the (population) standard deviation may be 0.

    Raises:
        ValueError: There is no image, or not three channels.
    """
    if images.ndim != 4 or images.shape[1] != 3 or images.size == 0:
        raise ValueError(f"expected images (N, 3, H, W) with N >= 1, got {images.shape}")
    levels = np.arange(256, dtype=np.int64)
    mean, std = [], []
    for channel in range(3):
        histogram = np.zeros(256, dtype=np.int64)
        for start in range(0, len(images), _STATISTICS_BATCH):
            batch = images[start : start + _STATISTICS_BATCH, channel]
            histogram += np.bincount(batch.ravel(), minlength=256)
        count = int(histogram.sum())
        total = int((histogram * levels).sum())
        squares = int((histogram * levels**2).sum())
        variance = (count * squares - total * total) / (count * count)  # exact integers above
        mean.append(round(total / count / 255.0, 6))
        std.append(round(variance**0.5 / 255.0, 6))
    return (mean[0], mean[1], mean[2]), (std[0], std[1], std[2])


def _stratified(labels: Labels, rows: Rows, count: int, seed: int | np.random.SeedSequence) -> Rows:
    """`count` of `rows`, ascending, each class in proportion (largest remainder)."""
    generator = np.random.Generator(np.random.PCG64(seed))
    present, sizes = np.unique(labels[rows], return_counts=True)
    shares = [int(size) * count // len(rows) for size in sizes]
    remainders = [int(size) * count % len(rows) for size in sizes]
    by_remainder = sorted(range(len(sizes)), key=lambda k: (-remainders[k], k))
    for k in by_remainder[: count - sum(shares)]:
        shares[k] += 1
    picked = [
        generator.permutation(rows[labels[rows] == label])[:share]
        for label, share in zip(present, shares, strict=True)
    ]
    return np.sort(np.concatenate(picked))


def _stream(seed: int, which: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(seed, spawn_key=(which,))


def _labels_of(classes: Sequence[str] | None, names: Sequence[str]) -> tuple[int, ...]:
    if classes is None:
        return tuple(range(len(names)))
    for name in classes:
        if name not in names:
            known = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
            raise ValueError(f"there is no class {name!r}; choose from {known}")
    if not classes:
        raise ValueError("expected one class or more to keep, got none")
    return tuple(sorted({list(names).index(name) for name in classes}))
