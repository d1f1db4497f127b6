"""The built-in dataset: its promises, each measured on what it draws."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from cptools.core.sources.shapes import CLASSES, shapes


def least_squares_accuracy(train, train_labels, test, test_labels, *, ridge):
    """Accuracy of ridge regression onto one-hot labels: a linear probe in closed form."""
    mean, std = train.mean(axis=0), train.std(axis=0) + 1e-9
    x = np.hstack([(train - mean) / std, np.ones((len(train), 1))])
    y = np.eye(len(CLASSES))[train_labels]
    weights = np.linalg.solve(x.T @ x + ridge * np.eye(x.shape[1]), x.T @ y)
    predicted = np.hstack([(test - mean) / std, np.ones((len(test), 1))]) @ weights
    return float((predicted.argmax(axis=1) == test_labels).mean())


@pytest.fixture(scope="module")
def drawn():
    return shapes(train=3000, test=1500)


def test_arrays_and_balance():
    images, labels, test_images, test_labels = shapes(train=103, test=50, size=24)
    assert images.shape == (103, 3, 24, 24)
    assert images.dtype == np.uint8
    assert labels.dtype == np.int64
    assert sorted(np.bincount(labels, minlength=10)) == [10] * 7 + [11] * 3
    assert test_images.shape == (50, 3, 24, 24)
    assert np.bincount(test_labels).tolist() == [5] * 10
    assert len(CLASSES) == 10
    assert tuple(sorted(CLASSES)) == CLASSES


def test_one_image_a_split():
    images, labels, _, _ = shapes(train=1, test=1)
    assert images.shape == (1, 3, 32, 32)
    assert labels.tolist() == [0]


def test_same_options_give_the_same_bytes_in_another_process():
    code = (
        "import hashlib; from cptools.core.sources.shapes import shapes;"
        "arrays = shapes(train=200, seed=5);"
        "print(hashlib.sha256(b''.join(a.tobytes() for a in arrays)).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = hashlib.sha256(b"".join(a.tobytes() for a in shapes(train=200, seed=5))).hexdigest()
    assert other.stdout.strip() == here


def test_a_split_does_not_depend_on_the_size_of_the_other():
    images, labels, _, _ = shapes(train=60, test=10)
    again, labels_again, more, _ = shapes(train=60, test=400)
    np.testing.assert_array_equal(images, again)
    np.testing.assert_array_equal(labels, labels_again)
    assert len(more) == 400


def test_seeds_and_splits_differ():
    first, _, test, _ = shapes(train=50, test=50, seed=0)
    second, _, _, _ = shapes(train=50, test=50, seed=1)
    assert (first != second).mean() > 0.5
    assert (first != test).mean() > 0.5
    assert len({image.tobytes() for image in np.concatenate([first, second, test])}) == 150


def test_contrast_scales_the_deviation_from_mid_gray():
    full, labels, _, _ = shapes(train=200, contrast=1.0)
    quarter, labels_quarter, _, _ = shapes(train=200, contrast=0.25)
    np.testing.assert_array_equal(labels, labels_quarter)
    # Both are rounded to a level: half a level, and half a level's quarter, apart at most.
    assert np.abs((quarter - 127.5) - 0.25 * (full - 127.5)).max() <= 0.5 + 0.125 + 1e-3
    assert np.abs(quarter - 127.5).max() <= 0.25 * 127.5 + 0.5
    assert 0.04 < quarter.std() / 255 < 0.07


def test_brightness_and_color_say_nothing_about_the_class(drawn):
    images, labels, test_images, test_labels = drawn
    means, test_means = images.mean(axis=(2, 3)), test_images.mean(axis=(2, 3))

    def features(m):
        return np.hstack([m, m**2, m[:, :1] * m[:, 1:], m[:, 1:2] * m[:, 2:]])

    accuracy = least_squares_accuracy(
        features(means), labels, features(test_means), test_labels, ridge=1e-3
    )
    assert accuracy < 0.145  # chance is 0.1, its standard deviation 0.008


def test_pixels_are_hard_for_a_linear_probe(drawn):
    images, labels, test_images, test_labels = drawn
    flat, flat_test = images.mean(axis=1).reshape(3000, -1), test_images.mean(axis=1)
    accuracy = max(
        least_squares_accuracy(flat, labels, flat_test.reshape(1500, -1), test_labels, ridge=r)
        for r in (1e2, 1e4)
    )
    assert 0.12 < accuracy < 0.35


def test_classes_can_be_told_apart_by_shape():
    """Nearest class-mean of the centered, polarity-free silhouette beats pixels by far."""

    def silhouettes(images):
        gray = images.mean(axis=1) - np.median(images.mean(axis=1), axis=(1, 2), keepdims=True)
        magnitude = np.abs(gray) / np.abs(gray).max(axis=(1, 2), keepdims=True)
        return np.abs(np.fft.fft2(magnitude)).reshape(len(images), -1)[:, :512]

    images, labels, test_images, test_labels = shapes(train=1500, test=600, contrast=1.0)
    accuracy = least_squares_accuracy(
        silhouettes(images), labels, silhouettes(test_images), test_labels, ridge=1e2
    )
    assert accuracy > 0.7


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"train": 0}, "expected train at least 1, got 0"),
        ({"test": 0}, "expected test at least 1, got 0"),
        ({"contrast": 0.0}, r"expected contrast in \(0, 1\], got 0.0"),
        ({"contrast": float("nan")}, "contrast"),
        ({"size": 4}, r"expected size in \[8, 512\], got 4"),
        ({"seed": -1}, "expected seed at least 0, got -1"),
    ],
)
def test_bad_options(option, message):
    with pytest.raises(ValueError, match=message):
        shapes(**option)
