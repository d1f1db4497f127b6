"""The look: colors that everybody tells apart, and sizes that hold."""

import io
import re
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from cptools.figures.bars import Bar, accuracy_bars
from cptools.figures.style import OKABE_ITO, save_figure

# Of linear RGB, what a person with deuteranopia sees: Machado, Oliveira and Fernandes (2009).
DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]
)
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def lab(color: Any, seen: Any) -> Any:
    """CIELAB coordinates of a color as somebody sees it."""
    parts = np.array(to_rgb(color))
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    xyz = TO_XYZ @ np.clip(seen @ linear, 0, 1) / np.array([0.9505, 1, 1.089])
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("seen", [np.eye(3), DEUTERANOPIA], ids=["all", "deuteranopia"])
def test_colors_are_told_apart(seen: Any) -> None:
    for i, one in enumerate(OKABE_ITO):
        for other in OKABE_ITO[:i]:
            distance = np.linalg.norm(lab(one, seen) - lab(other, seen))
            assert distance > 15  # 2.3 can just be noticed; red and green of one lightness have 7
    red, green = "#b05a20", "#7d7a20"
    assert np.linalg.norm(lab(red, DEUTERANOPIA) - lab(green, DEUTERANOPIA)) < 15


def figure() -> Any:
    return accuracy_bars([Bar("a", [50.0], 50.0, 40.0, 60.0)])


def saved(**settings: Any) -> bytes:
    buffer = io.BytesIO()
    save_figure(figure(), buffer, **settings)
    return buffer.getvalue()


@pytest.mark.parametrize(("width", "dpi"), [(3.0, 100), (7.5, 33), (0.7, 600)])
def test_width_is_that_of_the_picture(width: float, dpi: int) -> None:
    picture = Image.open(io.BytesIO(saved(dpi=dpi, width=width)))
    assert picture.width == round(width * dpi)
    made = figure().get_size_inches()
    assert picture.height == pytest.approx(picture.width * made[1] / made[0], abs=1)
    assert picture.info["dpi"][0] == pytest.approx(dpi, rel=1e-3)
    svg = saved(format="svg", width=width).decode()
    found = re.search('width="(.*?)pt" height="(.*?)pt"', svg)
    assert found
    assert float(found[1]) == pytest.approx(72 * width, rel=1e-4)
    assert float(found[2]) == pytest.approx(72 * width * made[1] / made[0], rel=1e-4)


def test_without_a_width_a_picture_is_as_it_was_made() -> None:
    assert Image.open(io.BytesIO(saved(dpi=100))).width == int(100 * figure().get_size_inches()[0])


def test_what_would_take_all_memory_is_refused() -> None:
    with pytest.raises(ValueError, match="the picture is too large;"):
        saved(dpi=1200, width=90)
