"""Previews: every pixel in its half of a letter, in no more letters than there is room for."""

import re

import numpy as np
import pytest

from cptools.figures.bars import Bar, accuracy_bars
from cptools.figures.terminal import half_blocks, preview

SETTING = r"\x1b\[38;2;(\d+);(\d+);(\d+);48;2;(\d+);(\d+);(\d+)m"


def read(text: str) -> np.ndarray:
    """The pixels of a preview, as a terminal would draw them."""
    rows = []
    for line in text.splitlines():
        upper, lower, color = [], [], None
        for part in re.findall(SETTING + "|(\u2580)", line):
            if part[6]:
                assert color is not None
                upper.append(color[:3])
                lower.append(color[3:])
            else:
                color = [int(number) for number in part[:6]]
        rows += [upper, lower]
    return np.array(rows, dtype=np.uint8)


def test_pixels_are_found_again() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    pixels[2:4, 1:4] = 7  # colors that stay are set once
    text = half_blocks(pixels)
    assert np.array_equal(read(text), pixels)
    assert len(re.findall(SETTING, text)) == 3 * 5 - 2
    assert all(line.endswith("\x1b[0m") for line in text.splitlines())


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (30, 100), (200, 5)])
def test_a_preview_fits(columns: int, lines: int) -> None:
    figure = accuracy_bars([Bar(f"bar {i}", [50.0], 50.0, 40.0, 60.0) for i in range(8)])
    width, height = figure.get_size_inches()
    seen = read(preview(figure, columns, lines))
    assert seen.shape[1] <= columns
    assert seen.shape[0] <= 2 * lines
    assert seen.shape[1] == columns or seen.shape[0] >= 2 * lines - 2  # no smaller than need be
    assert abs(seen.shape[0] - seen.shape[1] * height / width) <= 1.01
    assert (seen[0, -1] > 200).all()


def test_what_is_no_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="H even, got"):
        half_blocks(np.zeros((3, 2, 3), np.uint8))
