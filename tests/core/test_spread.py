"""Noise on photographs of any size."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from cptools.core.spread import distances, poison_pixels, spread, turned

RNG = np.random.default_rng(0)
ROW = RNG.uniform(-1, 1, (3, 8, 8)).astype(np.float32)


def whole(row, height, width):
    blocks = [*spread(row, height, width)]
    assert [top for top, _ in blocks] == [0, *np.cumsum([len(b) for _, b in blocks])[:-1]]
    return np.concatenate([block for _, block in blocks])


@pytest.mark.parametrize(
    ("height", "width"), [(8, 8), (64, 64), (40, 65), (65, 40), (3, 2), (1, 1)]
)
def test_the_noise_has_the_shape_of_the_picture_and_stays_in_its_range(height, width):
    noise = whole(ROW, height, width)
    assert noise.shape == (height, width, 3)
    assert np.abs(noise).max() <= np.abs(ROW).max() + 1e-6


def test_at_its_own_size_the_noise_is_itself():
    np.testing.assert_allclose(whole(ROW, 8, 8), ROW.transpose(1, 2, 0), atol=1e-6)


def test_a_victim_that_crops_and_shrinks_finds_the_noise():
    noise = whole(ROW, 800, 1200)[:, 200:1000]
    for channel in range(3):
        small = Image.fromarray(np.ascontiguousarray(noise[:, :, channel])).resize(
            (8, 8), Image.Resampling.LANCZOS
        )
        assert np.corrcoef(np.asarray(small).ravel(), ROW[channel].ravel())[0, 1] > 0.9


def test_between_its_values_the_noise_is_the_cubic_spline_of_the_definition():
    def kernel(x):  # Keys 1981, equation 15
        x = abs(x)
        if x <= 1:
            return 1.5 * x**3 - 2.5 * x**2 + 1
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0

    def at(values, length):
        places = (np.arange(length) + 0.5) * len(values) / length - 0.5
        taps = range(-3, len(values) + 3)
        return np.array([
            sum(kernel(place - tap) * values[tap % len(values)] for tap in taps)
            for place in places
        ])  # fmt: skip

    for channel in range(3):
        rows = np.array([at(line, 20) for line in ROW[channel]])
        expected = np.array([at(column, 20) for column in rows.T]).T
        noise = whole(ROW, 20, 20)[:, :, channel]
        assert (expected > ROW.max()).any()
        np.testing.assert_allclose(noise, expected.clip(ROW.min(), ROW.max()), atol=1e-5)


def test_beyond_the_square_the_noise_repeats():
    noise = whole(ROW, 80, 240)
    np.testing.assert_allclose(noise[:, :80], noise[:, 80:160], atol=1e-5)


def test_large_blocks_are_cut_alike(monkeypatch):
    from cptools.core import spread as module

    noise = whole(ROW, 50, 70)
    monkeypatch.setattr(module, "_BLOCK", 100)
    np.testing.assert_array_equal(whole(ROW, 50, 70), noise)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_noise_is_upright_where_exif_turns_the_picture(orientation):
    stored = whole(turned(ROW, orientation), 24, 35)
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = Image.fromarray(np.rint(stored * 100 + 128).astype(np.uint8))
    picture.info["exif"] = exif.tobytes()
    upright = np.asarray(ImageOps.exif_transpose(picture))
    expected = np.rint(whole(ROW, *upright.shape[:2]) * 100 + 128)
    assert np.abs(upright - expected).max() <= 1  # halves may be rounded either way


@pytest.mark.parametrize(("kind", "most"), [(np.uint8, 8), (np.uint16, 2056)])
def test_no_pixel_moves_further_than_epsilon(kind, most):
    pixels = RNG.integers(0, np.iinfo(kind).max, (30, 41, 3), dtype=kind, endpoint=True)
    pixels[:2] = 0
    pixels[2:4] = np.iinfo(kind).max
    poisoned = poison_pixels(pixels, np.sign(ROW), float(most), most)
    assert poisoned.dtype == kind
    apart = np.abs(poisoned.astype(int) - pixels)
    assert apart.max() == most
    assert (apart == 0).any()  # at the ends of the range
    expected = np.rint(pixels + whole(np.sign(ROW) * np.float32(most), 30, 41))
    np.testing.assert_array_equal(poisoned, expected.clip(0, np.iinfo(kind).max))


def test_where_epsilon_is_no_whole_number_of_levels_pixels_move_less():
    pixels = np.full((16, 16, 3), 100, np.uint8)
    poisoned = poison_pixels(pixels, np.ones_like(ROW), 7.6, 7)
    assert (poisoned == 107).all()


def test_distances_are_counted():
    one = np.array([[[0, 5, 255]]], np.uint8)
    other = np.array([[[2, 5, 0]]], np.uint8)
    counts = distances(one, other)
    assert {i: n for i, n in enumerate(counts.tolist()) if n} == {0: 1, 2: 1, 255: 1}
