"""ROC curves: the rates that were given, all of them visible, in room for every name."""

import io
from itertools import pairwise
from typing import Any

import pytest

from cptools.figures.roc import Curve, roc_curves
from cptools.figures.style import OKABE_ITO, save_figure

CURVES = [
    Curve("lsp", [0.0, 0.0, 1.0], [0.0, 1.0, 1.0], 1.0),
    Curve("ap", [0.0, 0.25, 0.5, 1.0], [0.0, 0.5, 0.5, 1.0], 0.5625),
]


def saved(figure: Any, format: Any = "png") -> bytes:
    buffer = io.BytesIO()
    save_figure(figure, buffer, format, dpi=100)  # that of the figure: extents hold afterwards
    return buffer.getvalue()


def many(num: int, name: str = "attack") -> list[Curve]:
    return [Curve(f"{name} {i}", [0.0, 0.0, 1.0], [0.0, 1.0, 1.0], 1.0) for i in range(num)]


def test_every_rate_is_drawn() -> None:
    figure = roc_curves(CURVES, title="T", caption="C")
    (axes,) = figure.axes
    assert (axes.get_xlim(), axes.get_ylim()) == ((0, 100), (0, 100))
    box = axes.get_window_extent()
    assert box.width == pytest.approx(box.height)
    chance, *lines = axes.lines
    assert list(chance.get_xdata()) == list(chance.get_ydata()) == [0, 100]
    assert [list(line.get_xdata()) for line in lines] == [[0, 0, 100], [0, 25, 50, 100]]
    assert [list(line.get_ydata()) for line in lines] == [[0, 100, 100], [0, 50, 50, 100]]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["lsp: 1.000", "ap: 0.562"]
    assert {"T", "C"} <= {text.get_text() for text in figure.texts}


def test_curves_that_coincide_are_all_visible() -> None:
    _, *lines = roc_curves(many(len(OKABE_ITO))).axes[0].lines
    assert [line.get_color() for line in lines] == list(OKABE_ITO)
    widths = [line.get_linewidth() for line in lines]
    assert all(wide >= thin + 0.5 for wide, thin in pairwise(widths))
    assert widths[-1] >= 1
    assert not any(line.get_clip_on() for line in lines)  # at the edges, nor is any cut in half


@pytest.mark.parametrize(
    ("curves", "words"),
    [
        (CURVES, 1),
        (CURVES[:1], 12),
        (many(7), 1),
        (many(3, "an attack of a long name" * 3), 8),
    ],
)
def test_panel_and_text_do_not_overlap(curves: list[Curve], words: int) -> None:
    figure = roc_curves(curves, title="Title " * words, caption="Caption " * words)
    saved(figure)  # draws, so that extents are known
    axes = figure.axes[0]
    boxes = [text.get_window_extent() for text in figure.texts]
    boxes += [label.get_window_extent() for label in axes.get_yticklabels()]
    boxes += [label.get_window_extent() for label in axes.get_xticklabels()]
    boxes += [legend.get_window_extent() for legend in figure.legends]
    boxes += [axes.get_window_extent(), axes.xaxis.label.get_window_extent()]
    boxes.append(axes.yaxis.label.get_window_extent())
    for i, box in enumerate(boxes):
        assert figure.bbox.x0 <= box.x0
        assert box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0
        assert box.y1 <= figure.bbox.y1 + 1
        for other in boxes[:i]:
            assert not box.overlaps(other)


@pytest.mark.parametrize("format", ["png", "svg"])
def test_same_rates_same_bytes(format: Any) -> None:
    first, second = (saved(roc_curves(CURVES, title="T"), format) for _ in range(2))
    assert first == second


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="no ROC curves to draw"):
        roc_curves([])
    with pytest.raises(ValueError, match="8 ROC curves cannot be distinguished; plot at most 7"):
        roc_curves(many(8))
