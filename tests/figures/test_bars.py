"""Bars: the numbers that were given, in the order given, in room for every name."""

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from cptools.figures.bars import Bar, accuracy_bars
from cptools.figures.style import INK, OKABE_ITO, save_figure

BARS = [
    Bar("clean", [84.0, 86.0, 88.0], 86.0, 81.0, 91.0),
    Bar("poisoned", [60.0, 70.0], 65.0, 1.5, 100.0),
    Bar("mc", [75.5], 75.5, 73.0, 78.0),
]


def saved(figure: Any, format: Any = "png") -> bytes:
    buffer = io.BytesIO()
    save_figure(figure, buffer, format, dpi=100)  # that of the figure: extents hold afterwards
    return buffer.getvalue()


def grid(rows: int, columns: int) -> list[Bar]:
    return [
        Bar(f"row {i}", [50.0, 60.0], 55.0, 45.0, 65.0, f"column {k}")
        for k in range(columns)
        for i in range(rows)
    ]


def test_every_number_is_drawn() -> None:
    figure = accuracy_bars(BARS, title="T", caption="C")
    (axes,) = figure.axes
    assert axes.get_xlim() == (0, 100)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["clean", "poisoned", "mc"]
    assert [patch.get_width() for patch in axes.patches] == [86.0, 65.0, 75.5]
    middles = [patch.get_y() + patch.get_height() / 2 for patch in axes.patches]
    assert np.allclose(middles, axes.get_yticks())
    assert middles == sorted(middles)  # from the top: the axis is turned
    assert axes.yaxis_inverted()
    intervals = [line.get_segments()[0] for line in axes.collections]
    ends = [(segment[0][0], segment[1][0]) for segment in intervals]
    assert np.allclose(ends, [(81.0, 91.0), (1.5, 100.0), (73.0, 78.0)])
    dots = [list(line.get_xdata()) for line in axes.lines if line.get_marker() == "o"]
    assert dots == [[84.0, 86.0, 88.0], [60.0, 70.0]]  # one value is the bar itself
    assert [text.get_text() for text in axes.texts] == ["86.0", "65.0", "75.5"]
    assert {"T", "C"} <= {text.get_text() for text in figure.texts}
    assert not figure.legends


def test_bars_of_one_name_stand_together_in_the_order_of_the_legend() -> None:
    bars = [
        Bar("b", [1.0], 1.0, 0.5, 2.0, "simclr"),
        Bar("a", [2.0], 2.0, 1.0, 3.0, "moco"),
        Bar("a", [3.0], 3.0, 2.0, 4.0, "simclr"),
        Bar("b", [4.0], 4.0, 3.0, 5.0, "moco"),
    ]
    figure = accuracy_bars(bars)
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b", "a"]
    assert [patch.get_width() for patch in axes.patches] == [1.0, 4.0, 3.0, 2.0]
    assert [to_rgb(patch.get_edgecolor()) for patch in axes.patches] == [
        to_rgb(OKABE_ITO[k]) for k in (0, 1, 0, 1)
    ]
    tops = [patch.get_y() for patch in axes.patches]
    assert tops[2] - tops[1] > tops[1] - tops[0]
    assert tops[1] - tops[0] == pytest.approx(tops[3] - tops[2])
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["simclr", "moco"]
    assert [to_rgb(patch.get_edgecolor()) for patch in legend.get_patches()] == [
        to_rgb(color) for color in OKABE_ITO[:2]
    ]


def test_one_series_that_has_a_name_is_named() -> None:
    (legend,) = accuracy_bars(grid(2, 1)).legends
    assert [text.get_text() for text in legend.get_texts()] == ["column 0"]


def test_a_diamond_is_the_paper_s_value() -> None:
    bars = [*BARS[:2], Bar("mc", [75.5], 75.5, 73.0, 78.0, paper=91.25)]
    figure = accuracy_bars(bars)
    (axes,) = figure.axes
    diamonds = [line for line in axes.lines if line.get_marker() == "D"]
    assert [list(line.get_xdata()) for line in diamonds] == [[91.25]]
    assert [text.get_text() for text in axes.texts] == [
        "86.0", "65.0", "75.5", "91.2", "ours", "paper",
    ]  # fmt: skip
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["paper"]


def test_what_has_no_interval_has_no_line() -> None:
    assert not accuracy_bars([Bar("a", [], 50.0, 50.0, 50.0)]).axes[0].collections


def luminance(color: Any) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_intervals_are_visible_on_every_color() -> None:
    for patch in accuracy_bars(grid(1, len(OKABE_ITO))).axes[0].patches:
        fill = luminance(patch.get_facecolor())
        assert (fill + 0.05) / (luminance(INK) + 0.05) > 3  # what WCAG 2 asks of graphics


@pytest.mark.parametrize(
    ("bars", "words"),
    [
        (BARS, 1),
        (BARS[:1], 12),
        ([Bar(f"contrast-{i}-poisoned-defended", [9.0], 9.0, 8.0, 10.0) for i in range(20)], 4),
        (grid(12, 3), 1),
        ([replace(bar, paper=100.0) for bar in grid(4, 3)], 5),
        ([replace(bar, paper=7.0) for bar in BARS], 1),
        ([Bar("a", [9.0], 9, 8, 10, f"a victim of a long name {i}" * 3) for i in range(7)], 8),
    ],
)
def test_panel_and_text_do_not_overlap(bars: list[Bar], words: int) -> None:
    figure = accuracy_bars(bars, title="Title " * words, caption="Caption " * words)
    saved(figure)  # draws, so that extents are known
    axes = figure.axes[0]
    boxes = [text.get_window_extent() for text in (*figure.texts, *axes.texts)]
    boxes += [label.get_window_extent() for label in axes.get_yticklabels()]
    boxes += [label.get_window_extent() for label in axes.get_xticklabels()]
    boxes += [legend.get_window_extent() for legend in figure.legends]
    boxes += [patch.get_window_extent() for patch in axes.patches]
    boxes.append(axes.xaxis.label.get_window_extent())
    for i, box in enumerate(boxes):
        assert figure.bbox.x0 <= box.x0
        assert box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0
        assert box.y1 <= figure.bbox.y1 + 1
        for other in boxes[:i]:
            assert not box.overlaps(other)


@pytest.mark.parametrize("format", ["png", "svg"])
def test_same_numbers_same_bytes(format: Any) -> None:
    first, second = (saved(accuracy_bars(BARS, title="T"), format) for _ in range(2))
    assert first == second


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="no accuracies to draw"):
        accuracy_bars([])
    with pytest.raises(ValueError, match="8 series cannot be distinguished"):
        accuracy_bars(grid(1, 8))
