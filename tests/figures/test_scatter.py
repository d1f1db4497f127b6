"""Noise as points: every point is where it was given, distinguishable classes, the same bytes."""

import io
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex

from cptools.figures.scatter import MARKERS, Cloud, noise_scatter
from cptools.figures.style import OKABE_ITO, save_figure

NAMES = ["bar", "crescent", "an immoderately long name"]


def cloud(num: int = 30, title: str = "poison", seed: int = 0) -> Cloud:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, num)
    notes = ("linear: 12.0 %", "mlp: 34.0 %")
    return Cloud(title, rng.normal(size=(num, 2)) + labels[:, None], labels, (0.25, 0.125), notes)


def saved(figure: Any, format: Any) -> bytes:
    buffer = io.BytesIO()
    save_figure(figure, buffer, format, dpi=100)  # that of the figure: extents hold afterwards
    return buffer.getvalue()


def test_every_point_is_drawn_in_the_look_of_its_class() -> None:
    clouds = [cloud(), cloud(7, "another", 1)]
    figure = noise_scatter(clouds, NAMES, title="T", caption="C")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["poison", "another"]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["bar", "crescent", "an immodera…"]
    for axes, given in zip(figure.axes, clouds, strict=True):
        lines = {(to_hex(line.get_color()).upper(), line.get_marker()): line for line in axes.lines}
        assert len(lines) == len(np.unique(given.labels))
        for label in np.unique(given.labels):
            line = lines[OKABE_ITO[label], MARKERS[label]]
            assert np.array_equal(line.get_xydata(), given.points[given.labels == label])
        assert axes.get_xlabel() == "25.0 % of the variance"
        assert axes.get_ylabel() == "12.5 % of the variance"
    assert {"T", "C", "linear: 12.0 %", "mlp: 34.0 %"} <= {t.get_text() for t in figure.texts}


def test_the_legend_names_classes_that_no_point_has() -> None:
    alone = Cloud("a", np.zeros((2, 2)), np.array([2, 2]), (1.0, 0.0))
    (legend,) = noise_scatter([alone], NAMES).legends
    assert len(legend.get_texts()) == 3


def test_classes_are_told_apart_by_color_and_marker() -> None:
    num = len(OKABE_ITO) * len(MARKERS)
    names = [f"class {i}" for i in range(num)]
    each = Cloud("a", np.zeros((num, 2)), np.arange(num), (1.0, 0.0))
    axes = noise_scatter([each], names).axes[0]
    assert len({(line.get_color(), line.get_marker()) for line in axes.lines}) == num
    with pytest.raises(ValueError, match="cannot be distinguished"):
        noise_scatter([each], [*names, "more"])


@pytest.mark.parametrize(("panels", "classes"), [(1, 3), (2, 10), (4, 25)])
def test_panels_and_text_do_not_overlap(panels: int, classes: int) -> None:
    names = [f"an animal {i}" for i in range(classes)]
    clouds = [cloud(title=f"simclr-sample-mc of some length {i}") for i in range(panels)]
    figure = noise_scatter(clouds, names, title="Title", caption="Caption")
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
def test_same_points_same_bytes(format: Any) -> None:
    first, second = (saved(noise_scatter([cloud()], NAMES), format) for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("clouds", "names", "message"),
    [
        ([], NAMES, "no points"),
        ([cloud(0)], NAMES, "no points"),
        ([cloud()], NAMES[:2], "labels of 2 classes"),
    ],
)
def test_bad_arguments_are_refused(clouds: Any, names: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        noise_scatter(clouds, names)
