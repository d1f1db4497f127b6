"""The look: colors distinguishable with any color vision, and sizes that hold."""

import io
import re
from typing import Any
from xml.dom import minidom

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from cptools.figures import style
from cptools.figures.bars import Bar, accuracy_bars
from cptools.figures.curves import training_curves
from cptools.figures.histogram import distance_histograms
from cptools.figures.image_grid import Row, image_grid
from cptools.figures.roc import Curve, roc_curves
from cptools.figures.scatter import Cloud, noise_scatter
from cptools.figures.style import (
    OKABE_ITO,
    TEXT,
    caption_lines,
    figure_style,
    missing_letters,
    save_figure,
    text_width,
    title_lines,
)

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
    with pytest.raises(ValueError, match="the figure is too large;"):
        saved(dpi=1200, width=90)


TITLE = "A title of which there is more than a page is wide " * 3
LONG = {"title": TITLE, "caption": "A caption that is longer, too; " * 9}
PIXELS = np.zeros((1, 3, 4, 4), np.uint8)


@pytest.mark.parametrize(
    "draw",
    [
        lambda name, **texts: accuracy_bars([Bar(name, [1.0], 1, 0, 2, name)], **texts),
        lambda name, **texts: roc_curves([Curve(name, [0, 1], [0, 1], 0.5)], **texts),
        lambda name, **texts: distance_histograms({name: [1]}, [0, 1], **texts),
        lambda name, **texts: training_curves({name: {"loss": [1, 2]}, "b": {}}, **texts),
        lambda name, **texts: image_grid([Row(name, PIXELS)], [name], **texts),
        lambda name, **texts: noise_scatter(
            [Cloud(name, np.zeros((1, 2)), np.zeros(1, int), (0.5, 0.5))], [name], **texts
        ),
    ],
    ids=["bars", "roc", "histogram", "curves", "images", "scatter"],
)
class TestEveryPicture:
    def test_long_texts_are_broken(self, draw: Any) -> None:
        plain, figure = draw("a"), draw("a", **LONG)
        assert figure.get_figwidth() <= max(plain.get_figwidth(), TEXT + 1.5)
        assert figure.get_figheight() > plain.get_figheight()
        shown = {" ".join(text.get_text().split()): text for text in figure.texts}
        title, caption = (shown[text.strip()] for text in LONG.values())
        save_figure(figure, io.BytesIO(), dpi=100)  # draws, so that extents are known
        boxes = [text.get_window_extent() for text in (title, caption)]
        boxes += [axes.get_tightbbox() for axes in figure.axes]
        boxes += [legend.get_window_extent() for legend in figure.legends]
        for i, box in enumerate(boxes):
            assert box.x1 <= figure.bbox.x1
            assert figure.bbox.y0 <= box.y0
            assert box.y1 <= figure.bbox.y1 + 1
            assert not any(box.overlaps(other) for other in boxes[:i])

    def test_what_is_no_text_makes_no_invalid_file(self, draw: Any) -> None:
        texts = dict.fromkeys(("title", "caption"), "a\x01\n\udcffb")
        buffer = io.BytesIO()
        save_figure(draw("_\x01\n\udcff", **texts), buffer, "svg")
        minidom.parseString(buffer.getvalue())
        assert "a\ufffd\ufffd\ufffdb" in buffer.getvalue().decode()
        assert "_\ufffd\ufffd\ufffd" in buffer.getvalue().decode()


def test_lines_are_broken_at_spaces_and_long_words_anywhere() -> None:
    with figure_style():
        room = text_width("mmmm mmmm", 8)
        lines = caption_lines("mmmm mmmm mmmm " + "m" * 20, room).split("\n")
        assert lines[:2] == ["mmmm mmmm", "mmmm"]
        assert "".join(lines[2:]) == "m" * 20
        assert all(text_width(line, 8) <= room for line in lines)
        assert title_lines("", room) == ""


def lettered(letter: str) -> Any:
    return accuracy_bars([Bar(f"a{letter}", [50.0], 50, 40, 60)], title=f"{letter}b", caption="c")


def drawn(letter: str) -> bytes:
    buffer = io.BytesIO()
    save_figure(lettered(letter), buffer, "svg")
    return buffer.getvalue()


def test_letters_of_another_font(monkeypatch: Any) -> None:
    """Matplotlib brings along another font with U+2336, and none with U+732B."""
    monkeypatch.setattr(style, "FALLBACKS", ())
    without, boxes = drawn("x"), drawn("\u2336")
    assert missing_letters(lettered("\u2336x")) == "\u2336"
    monkeypatch.setattr(style, "FALLBACKS", ("no such font", "STIXGeneral"))
    assert drawn("x") == without
    assert drawn("\u2336") != boxes
    assert missing_letters(lettered("\u2336\u732b\u732b")) == "\u732b"
