"""Histograms of distances: the given counts, distinguishable, and the same bytes again."""

import io
from typing import Any

import pytest

from cptools.figures.histogram import distance_histograms
from cptools.figures.style import OKABE_ITO, save_figure

EDGES = [0.25 * i for i in range(9)]
SERIES = {"poison: mean 0.1": [9, 1, 0, 0, 0, 0, 0, 0], "clean: mean 0.5": [5, 5, 5, 3, 2, 0, 0, 0]}


def saved(figure: Any, format: Any) -> bytes:
    buffer = io.BytesIO()
    save_figure(figure, buffer, format, dpi=100)  # that of the figure: extents hold afterwards
    return buffer.getvalue()


def outlines(figure: Any) -> list[Any]:
    return [patch for patch in figure.axes[0].patches if not patch.get_fill()]


def test_shares_of_images_are_drawn() -> None:
    figure = distance_histograms(SERIES, EDGES, title="T", caption="C")
    for patch, counts in zip(outlines(figure), SERIES.values(), strict=True):
        assert list(patch.get_data().values) == [100 * n / sum(counts) for n in counts]
        assert list(patch.get_data().edges) == EDGES
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(SERIES)
    assert {"T", "C"} <= {text.get_text() for text in figure.texts}
    assert figure.axes[0].get_ylim()[0] == 0
    assert figure.axes[0].get_ylim()[1] > 90


def test_the_axis_ends_at_one_or_where_the_images_end() -> None:
    assert distance_histograms(SERIES, EDGES).axes[0].get_xlim() == (0, 1.25)
    near = {"near": [4, 0, 0, 0, 0, 0, 0, 0]}
    assert distance_histograms(near, EDGES).axes[0].get_xlim() == (0, 1)
    far = {"far": [0, 0, 0, 0, 0, 0, 0, 4]}
    assert distance_histograms(far, EDGES).axes[0].get_xlim() == (0, 2)


def test_the_first_is_blue_and_each_has_its_look() -> None:
    series = {f"run {i}": [1, 2, 3, 0, 0, 0, 0, 0] for i in range(len(OKABE_ITO))}
    drawn = outlines(distance_histograms(series, EDGES))
    looks = {(patch.get_edgecolor(), str(patch.get_linestyle())) for patch in drawn}
    assert len(looks) == len(OKABE_ITO)
    red, green, blue, _ = drawn[0].get_edgecolor()
    assert blue > 2 * red
    assert blue > green
    with pytest.raises(ValueError, match="cannot be distinguished"):
        distance_histograms(series | {"more": [1] * 8}, EDGES)


@pytest.mark.parametrize("words", [1, 12])
def test_panel_and_text_do_not_overlap(words: int) -> None:
    series = {f"{label}{' long' * words}": counts for label, counts in SERIES.items()}
    figure = distance_histograms(series, EDGES, title="Title" * words, caption="Caption " * words)
    saved(figure, "png")  # draws, so that extents are known
    boxes = [axes.get_tightbbox() for axes in figure.axes]
    boxes += [text.get_window_extent() for text in figure.texts]
    boxes += [legend.get_window_extent() for legend in figure.legends]
    for i, box in enumerate(boxes):
        assert figure.bbox.x0 <= box.x0
        assert box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0
        assert box.y1 <= figure.bbox.y1 + 1
        for other in boxes[:i]:
            assert not box.overlaps(other)


@pytest.mark.parametrize("format", ["png", "svg"])
def test_same_numbers_same_bytes(format: Any) -> None:
    figures = [distance_histograms(SERIES, EDGES, title="T") for _ in range(2)]
    assert saved(figures[0], format) == saved(figures[1], format)


@pytest.mark.parametrize(
    ("series", "message"),
    [({}, "no distances"), ({"a": [0] * 8}, "no distances"), ({"a": [1] * 9}, "counts of 8 bins")],
)
def test_bad_arguments_are_refused(series: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        distance_histograms(series, EDGES)
