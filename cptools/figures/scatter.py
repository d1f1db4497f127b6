"""Noise as points in a plane, colored by class (after CP figure 5)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from cptools.figures.style import (
    INK,
    OKABE_ITO,
    caption_height,
    caption_lines,
    draw_caption,
    draw_title,
    figure_style,
    shorten,
    text_room,
    title_height,
    title_lines,
)

MARKERS = ("o", "^", "s", "D", "v", "P", "X", "*")  # 8 and 7 share no divisor: all pairs differ
_PANEL, _GAP, _LEFT, _RIGHT, _LEGEND = 3.0, 0.45, 0.42, 0.15, 1.25  # inches


@dataclass(frozen=True, eq=False)
class Cloud:
    """One panel.

    Attributes:
        title: What it shows.
        points: float [N, 2].
        labels: int [N], the class of each point.
        shares: Of the variance, in [0, 1], along the two axes.
        notes: Lines below the panel.
    """

    title: str
    points: NDArray[np.floating]
    labels: NDArray[np.integer]
    shares: tuple[float, float]
    notes: Sequence[str] = ()


def noise_scatter(
    clouds: Sequence[Cloud], names: Sequence[str], *, title: str = "", caption: str = ""
) -> Figure:
    """Draw one panel a cloud, one color and marker a class.

    Args:
        clouds: What to draw, side by side.
        names: Class names, by label; all are in the legend.
        title: Above the panels.
        caption: Below them.

    Returns:
        The figure, for `save_figure`. Points lie in the order given, later ones on top.

    Raises:
        ValueError: There is nothing to draw, or a label has no name, or there are too many classes.
    """
    if not clouds or any(not len(cloud.points) for cloud in clouds):
        raise ValueError("there are no points to draw")
    if len(names) > len(OKABE_ITO) * len(MARKERS):
        raise ValueError(f"{len(names)} classes cannot be distinguished; plot fewer")
    if any(cloud.labels.min() < 0 or cloud.labels.max() >= len(names) for cloud in clouds):
        raise ValueError(f"expected labels of {len(names)} classes")
    lines = max(len(cloud.notes) for cloud in clouds)
    with figure_style():
        room = max(len(clouds) * (_PANEL + _GAP) + _LEGEND, text_room(title, caption))
        title, caption = title_lines(title, room), caption_lines(caption, room)
        above = 0.42 + title_height(title, 0.34)
        below = 0.5 + 0.19 * lines + caption_height(caption, 0.26)
        height = above + max(_PANEL, 0.2 * len(names)) + below
        width = _LEFT + room + _RIGHT
        figure = Figure(figsize=(width, height))
        for i, cloud in enumerate(clouds):
            left = (_LEFT + i * (_PANEL + _GAP)) / width
            top = (height - above) / height
            axes = figure.add_axes(
                (left, top - _PANEL / height, _PANEL / width, _PANEL / height), label=str(i)
            )
            _draw(axes, cloud)
            for k, note in enumerate(cloud.notes):
                figure.text(
                    left, top - (_PANEL + 0.36 + 0.19 * k) / height, note,
                    ha="left", va="top", fontsize=8, color=INK,
                )  # fmt: skip
        figure.legend(
            handles=[
                Line2D([], [], linestyle="", label=shorten(name), **_look(label))
                for label, name in enumerate(names)
            ],
            loc="upper left",
            bbox_to_anchor=((_LEFT + len(clouds) * (_PANEL + _GAP)) / width - 0.2 / width, top),
            borderaxespad=0,
            borderpad=0,
            labelspacing=0.45,
            handletextpad=0.2,
        )
        draw_title(figure, _LEFT, title)
        draw_caption(figure, _LEFT, caption)
    return figure


def _draw(axes: Axes, cloud: Cloud) -> None:
    """The points of one panel."""
    for label in np.unique(cloud.labels):
        x, y = cloud.points[cloud.labels == label].T
        axes.plot(x, y, linestyle="", alpha=0.7, **_look(int(label)))
    axes.set_title(shorten(cloud.title, 34))
    first, second = (f"{100 * share:.1f} % of the variance" for share in cloud.shares)
    axes.set_xlabel(first)
    axes.set_ylabel(second)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.margins(0.05)


def _look(label: int) -> dict[str, Any]:
    """Color and marker of a class."""
    marker = MARKERS[label % len(MARKERS)]
    return {
        "color": OKABE_ITO[label % len(OKABE_ITO)],
        "marker": marker,
        "markersize": 6 if marker == "*" else 4,
        "markeredgewidth": 0,
    }
