"""Row selection and statistics."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cptools.core.sources.select import channel_statistics, holdout, relabel, select, subset

LABELS = st.lists(st.integers(0, 5), min_size=1, max_size=80).map(
    lambda values: np.array(values, dtype=np.int64)
)
NAMES = ("ant", "bee", "cow")


@given(LABELS, st.integers(1, 100), st.integers(0, 3))
def test_subset_keeps_each_share(labels, limit, seed):
    rows = subset(labels, limit=limit, seed=seed)
    assert len(rows) == min(limit, len(labels))
    assert np.all(np.diff(rows) > 0)
    kept, all_of = np.bincount(labels[rows], minlength=6), np.bincount(labels, minlength=6)
    assert np.all(np.abs(kept - all_of * len(rows) / len(labels)) < 1)
    np.testing.assert_array_equal(rows, subset(labels, limit=limit, seed=seed))


@given(LABELS, st.sets(st.integers(0, 5), min_size=1))
def test_subset_by_class(labels, classes):
    rows = subset(labels, classes=sorted(classes))
    expected = [row for row, label in enumerate(labels) if label in classes]
    assert rows.tolist() == expected


def test_subset_depends_on_the_seed():
    labels = np.zeros(1000, dtype=np.int64)
    assert len(np.intersect1d(subset(labels, limit=100), subset(labels, limit=100, seed=1))) < 30


def test_subset_refuses_zero():
    with pytest.raises(ValueError, match="expected limit at least 1, got 0"):
        subset(np.zeros(3, dtype=np.int64), limit=0)


def test_holdout_is_a_stratified_partition():
    labels = np.repeat(np.arange(3), [50, 30, 20])
    kept, held = holdout(labels, 0.2, seed=4)
    assert sorted([*kept, *held]) == list(range(100))
    assert np.bincount(labels[held]).tolist() == [10, 6, 4]
    assert not np.array_equal(held, holdout(labels, 0.2, seed=5)[1])


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_holdout_out_of_range(fraction):
    with pytest.raises(ValueError, match="between 0 and 1"):
        holdout(np.zeros(10, dtype=np.int64), fraction)


def test_holdout_that_empties_a_split_or_class():
    with pytest.raises(ValueError, match="leaves a split empty"):
        holdout(np.zeros(3, dtype=np.int64), 0.01)
    with pytest.raises(ValueError, match="leaves class 1 no training image"):
        holdout(np.array([0] * 9 + [1]), 0.9)


def test_select_combines_all():
    train = np.repeat(np.arange(3), 40)
    test = np.repeat(np.arange(3), 20)
    chosen = select(train, test, NAMES, limit=10, limit_test=6, classes=["cow", "ant"], seed=2)
    assert chosen.classes == (0, 2)
    assert not chosen.held_out
    assert np.bincount(train[chosen.train], minlength=3).tolist() == [5, 0, 5]
    assert np.bincount(test[chosen.test], minlength=3).tolist() == [3, 0, 3]
    assert relabel(train[chosen.train], chosen.classes).tolist() == [0] * 5 + [1] * 5


def test_select_keeps_all_by_default():
    labels = np.array([2, 0, 1, 1])
    chosen = select(labels, labels[:2], NAMES)
    assert chosen.train.tolist() == [0, 1, 2, 3]
    assert chosen.test.tolist() == [0, 1]
    assert chosen.classes == (0, 1, 2)


def test_select_with_holdout_never_tests_on_training_rows():
    labels = np.repeat(np.arange(3), 30)
    chosen = select(labels, None, NAMES, holdout=0.5, limit=12, limit_test=9, seed=1)
    assert chosen.held_out
    assert (len(chosen.train), len(chosen.test)) == (12, 9)
    assert not set(chosen.train) & set(chosen.test)


def test_limits_of_the_splits_are_independent():
    train, test = np.repeat(np.arange(3), 40), np.repeat(np.arange(3), 20)
    both = select(train, test, NAMES, limit=12, limit_test=9)
    only = select(train, test, NAMES, limit=12)
    np.testing.assert_array_equal(both.train, only.train)
    assert (len(both.test), len(only.test)) == (9, 60)


@pytest.mark.parametrize(
    ("test", "options", "message"),
    [
        (None, {}, "give `holdout=FRACTION`"),
        ([0, 1], {"holdout": 0.5}, "leave `holdout` out"),
        ([0, 1], {"classes": ["dog"]}, "no class 'dog'; choose from ant, bee, cow"),
        ([0, 1], {"classes": []}, "one class or more"),
        ([0, 1], {"classes": ["cow"]}, "leaves no test image"),
    ],
)
def test_select_refuses(test, options, message):
    train = np.array([0, 1, 2, 2])
    with pytest.raises(ValueError, match=message):
        select(train, None if test is None else np.array(test), NAMES, **options)


def test_relabel_any_order_and_foreign_label():
    assert relabel(np.array([5, 2, 5]), (5, 2)).tolist() == [0, 1, 0]
    assert relabel(np.array([], dtype=np.int64), (5, 2)).tolist() == []
    for foreign in (3, 9, 0):
        with pytest.raises(ValueError, match="not in"):
            relabel(np.array([5, foreign]), (5, 2))


def test_channel_statistics_against_float64():
    images = np.random.default_rng(0).integers(0, 256, (5000, 3, 4, 5), dtype=np.uint8)
    images[:, 1] //= 3
    mean, std = channel_statistics(images)
    scaled = images.astype(np.float64) / 255
    np.testing.assert_allclose(mean, scaled.mean(axis=(0, 2, 3)), atol=5.1e-7)
    np.testing.assert_allclose(std, scaled.std(axis=(0, 2, 3)), atol=5.1e-7)
    assert all(len(repr(value)) <= 8 for value in (*mean, *std))


def test_channel_statistics_of_a_constant_and_of_nothing():
    assert channel_statistics(np.full((2, 3, 4, 4), 255, dtype=np.uint8)) == (
        (1.0,) * 3,
        (0.0,) * 3,
    )
    with pytest.raises(ValueError, match="N >= 1"):
        channel_statistics(np.empty((0, 3, 4, 4), dtype=np.uint8))


@given(st.integers(1, 60), st.floats(0.01, 1.0), st.integers(0, 5))
def test_a_fraction_is_the_limit_of_as_many_rows(num, fraction, seed):
    labels = np.random.default_rng(seed).integers(0, 4, num)
    limit = round(fraction * num)
    if limit:
        expected = subset(labels, limit=limit, seed=seed)
        assert np.array_equal(subset(labels, fraction=fraction, seed=seed), expected)
    else:
        assert len(subset(labels, fraction=fraction, seed=seed)) == 0


@pytest.mark.parametrize("fraction", [0.0, -0.5, 1.5, float("nan")])
def test_a_fraction_out_of_range(fraction):
    with pytest.raises(ValueError, match=r"expected fraction in \(0, 1\]"):
        subset(np.zeros(4, dtype=np.int64), fraction=fraction)


def test_a_limit_and_a_fraction_are_one_too_many():
    with pytest.raises(ValueError, match="a limit and a fraction"):
        subset(np.zeros(4, dtype=np.int64), limit=2, fraction=0.5)
