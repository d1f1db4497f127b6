"""Training curves: the given numbers, distinguishable, and the same bytes again."""

import io
import subprocess
import sys
from typing import Any

import pytest
from matplotlib.colors import to_rgb

from cptools.figures.curves import training_curves
from cptools.figures.style import LINE_STYLES, OKABE_ITO, PAPER, save_figure

RUNS = {
    "clean": {"loss": [3.0, 2.0, 1.5], "alignment": [0.5, 0.3, 0.2], "uniformity": [-1, -2, -3]},
    "poison": {"loss": [2.0, 1.0], "alignment": [0.1, 0.0], "uniformity": [-0.5, -0.6]},
}


def saved(figure: Any, format: Any) -> bytes:
    buffer = io.BytesIO()
    save_figure(figure, buffer, format, dpi=100)  # that of the figure: extents hold afterwards
    return buffer.getvalue()


def test_every_number_is_drawn() -> None:
    figure = training_curves(RUNS, title="T", caption="C")
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "Loss", "Alignment", "Uniformity",
    ]  # fmt: skip
    for axes, name in zip(figure.axes, ("loss", "alignment", "uniformity"), strict=True):
        for line, (label, curves) in zip(axes.lines, RUNS.items(), strict=True):
            assert line.get_label() == label
            assert list(line.get_ydata()) == curves[name]
            assert list(line.get_xdata()) == list(range(1, len(curves[name]) + 1))
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["clean", "poison"]
    assert {"T", "C"} <= {text.get_text() for text in figure.texts}


def test_one_run_needs_no_legend_and_a_missing_quantity_no_panel() -> None:
    figure = training_curves({"only": {"loss": [1.0], "uniformity": []}})
    assert len(figure.axes) == 1
    assert not figure.legends
    assert figure.axes[0].lines[0].get_marker() == "o"  # one epoch is a point


def test_a_run_without_a_curve_keeps_its_color() -> None:
    figure = training_curves({"a": {"loss": [1.0, 2.0]}, "b": {"alignment": [0.1, 0.2]}})
    alignment = figure.axes[1]
    assert [line.get_color() for line in alignment.lines] == list(OKABE_ITO[:2])
    assert list(alignment.lines[0].get_ydata()) == []


def test_runs_are_told_apart_by_color_and_dash() -> None:
    num = len(OKABE_ITO) * len(LINE_STYLES)
    figure = training_curves({f"run {i}": {"loss": [1.0, 2.0]} for i in range(num)})
    looks = {(line.get_color(), str(line._dash_pattern)) for line in figure.axes[0].lines}
    assert len(looks) == num
    with pytest.raises(ValueError, match="cannot be distinguished"):
        training_curves({f"run {i}": {"loss": [1.0, 2.0]} for i in range(num + 1)})


def luminance(color: str) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_the_first_colors_are_visible_on_paper() -> None:
    for color in OKABE_ITO[:3]:  # 3:1 is what WCAG 2 asks of graphics
        assert (luminance(PAPER) + 0.05) / (luminance(color) + 0.05) > 3


def test_panels_and_text_do_not_overlap() -> None:
    for num, words, quantities in (
        (1, 1, 3),
        (3, 1, 3),
        (9, 1, 3),
        (12, 3, 3),
        (2, 9, 3),
        (3, 1, 1),
    ):
        curves = {name: RUNS["clean"][name] for name in list(RUNS["clean"])[:quantities]}
        runs = {f"{'contrastive ' * words}poison {i}": curves for i in range(num)}
        figure = training_curves(runs, title="Title " * words, caption="Caption " * words**3)
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
        for axes in figure.axes:
            note = axes.texts[0]
            if note.get_text():
                assert not note.get_window_extent().overlaps(axes._left_title.get_window_extent())


@pytest.mark.parametrize("format", ["png", "svg"])
def test_same_numbers_same_bytes(format: Any) -> None:
    assert saved(training_curves(RUNS), format) == saved(training_curves(RUNS), format)


def test_pyplot_is_never_imported() -> None:
    code = (
        "import sys, cptools.figures.curves, cptools.figures.noise_grid; "
        "sys.exit('matplotlib.pyplot' in sys.modules or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="no curves to draw"):
        training_curves({})
    with pytest.raises(ValueError, match="no panel for"):
        training_curves({"a": {"precision": [1.0]}})


def test_a_label_is_in_the_legend_whatever_it_begins_with() -> None:
    (legend,) = training_curves({"_a": RUNS["clean"], "b": RUNS["poison"]}).legends
    assert [text.get_text() for text in legend.get_texts()] == ["_a", "b"]


def test_accuracy_is_drawn_over_the_epochs_it_was_measured_after():
    figure = training_curves(
        {"a": {"accuracy": [50.0, 60.0]}, "b": {"accuracy": [40.0]}}, epochs={"a": [5, 8], "b": [8]}
    )
    (axes,) = figure.axes
    assert [list(line.get_xdata()) for line in axes.lines] == [[5, 8], [8]]
    assert axes.get_title(loc="left") == "Accuracy"
