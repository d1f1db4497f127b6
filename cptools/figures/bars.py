"""Accuracies as bars, with intervals and each seed's value (after CP figure 1)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from cptools.figures.style import (
    FAINT,
    INK,
    OKABE_ITO,
    PAPER,
    caption_height,
    caption_lines,
    draw_caption,
    draw_title,
    figure_style,
    plain,
    text_room,
    text_width,
    title_height,
    title_lines,
)

_PANEL, _EDGE, _SPACE, _TITLE, _AXIS, _LINE = 4.0, 0.15, 0.1, 0.28, 0.46, 0.16  # inches
_BAR, _GAP = 0.25, 0.14  # inches: width of the slot of a bar, and gap between groups
_FILL, _TINT = 0.8, 0.5  # of the slot that a bar fills, and of its color in the fill
_HANDLE = 0.45  # inches: a patch of the legend and the space about it
_NUMBER = 0.5  # inches: a column of figures beside the panel
_DIAMOND: dict[str, Any] = {
    "marker": "D", "markersize": 5, "color": INK, "markerfacecolor": PAPER, "markeredgewidth": 1.2,
}  # fmt: skip


@dataclass(frozen=True)
class Bar:
    """One bar; numbers are in percent.

    Attributes:
        name: What stands beside it; bars of one name stand together.
        values: One a seed.
        mean: Where the bar ends.
        low: Lower end of the interval.
        high: Upper end.
        series: Its name in the legend, by which it is colored; empty where there are none.
        paper: What a paper reports; None where it does not.
    """

    name: str
    values: Sequence[float]
    mean: float
    low: float
    high: float
    series: str = ""
    paper: float | None = None


def accuracy_bars(
    bars: Sequence[Bar], *, label: str = "accuracy (%)", title: str = "", caption: str = ""
) -> Figure:
    """Draw horizontal bars from 0 to 100 percent, with the mean in figures beside them.

    A diamond is the value of a paper, which is also printed.

    Args:
        bars: From top to bottom, in the order in which their names first appear; those of one name
            in the order in which the series do.
        label: What the bars are, in percent.
        title: Above the figure.
        caption: Below it.

    Returns:
        The figure, for `save_figure`. A line is an interval, where it has a length; dots are the
        values, of several.

    Raises:
        ValueError: There is nothing to draw, or too many series.
    """
    if not bars:
        raise ValueError("there are no accuracies to draw")
    bars = [replace(bar, name=plain(bar.name), series=plain(bar.series)) for bar in bars]
    series = list(dict.fromkeys(bar.series for bar in bars))
    names = list(dict.fromkeys(bar.name for bar in bars))
    if len(series) > len(OKABE_ITO):
        raise ValueError(f"{len(series)} series cannot be distinguished; plot at most 7")
    bars.sort(key=lambda bar: (names.index(bar.name), series.index(bar.series)))
    gap = _GAP if len(names) < len(bars) else 0.0
    group = np.array([names.index(bar.name) for bar in bars])
    y = _BAR * (np.arange(len(bars)) + 0.5) + gap * (group + 0.5)  # inches from the top
    panel = _BAR * len(bars) + gap * len(names)
    is_told = any(bar.paper is not None for bar in bars)
    entries = [name for name in series if name] + (["paper"] if is_told else [])
    with figure_style():
        left = _EDGE + max(text_width(name, 9) for name in names) + _SPACE
        entry = _HANDLE + max((text_width(name, 9) for name in entries), default=0)
        numbers = _NUMBER * (2 if is_told else 1)
        room = max(_PANEL + numbers, entry, text_room(title, caption))
        title, caption = title_lines(title, room), caption_lines(caption, room)
        width = left + room + _EDGE
        columns = min(max(len(entries), 1), int(room / entry))
        legend = -(-len(entries) // columns)
        heads = 0.14 if is_told else 0
        head = title_height(title, _TITLE)
        above = _EDGE + head + 0.22 * legend + heads
        below = _AXIS + caption_height(caption)
        height = above + panel + below
        figure = Figure(figsize=(width, height))
        axes = figure.add_axes((left / width, below / height, _PANEL / width, panel / height))
        axes.set_xlim(0, 100)
        axes.set_ylim(panel, 0)
        axes.set_xlabel(label)
        axes.grid(visible=False, axis="y")
        axes.set_yticks([y[group == k].mean() for k in range(len(names))], names)
        axes.tick_params(axis="y", labelsize=9, pad=72 * _SPACE)
        for bar, middle in zip(bars, y, strict=True):
            color = OKABE_ITO[series.index(bar.series)]
            axes.barh(middle, bar.mean, _FILL * _BAR, color=_tint(color), edgecolor=color)
            if bar.low < bar.high:
                ends = [[bar.mean - bar.low], [bar.high - bar.mean]]
                axes.errorbar(
                    bar.mean, middle, xerr=ends, fmt="none", ecolor=INK, elinewidth=1.2,
                    capsize=2.5, capthick=1.2, clip_on=False,
                )  # fmt: skip
            if len(bar.values) > 1:
                axes.plot(
                    bar.values, [middle + 0.055] * len(bar.values), linestyle="", marker="o",
                    markersize=2.6, markeredgewidth=0, color=INK, clip_on=False,
                )  # fmt: skip
            for k, value in enumerate([bar.mean, bar.paper]):
                if value is not None:
                    axes.text(
                        _number_at(k), middle, f"{value:.1f}",
                        ha="right", va="center_baseline", fontsize=8, color=[INK, FAINT][k],
                    )  # fmt: skip
            if bar.paper is not None:
                axes.plot(bar.paper, middle, linestyle="", clip_on=False, **_DIAMOND)
        if is_told:
            for k, whose in enumerate(["ours", "paper"]):
                axes.text(
                    _number_at(k), -0.04, whose, ha="right", va="bottom", fontsize=7, color=FAINT
                )
        draw_title(figure, left, title)
        if legend:
            figure.legend(
                handles=[
                    *(
                        Patch(facecolor=_tint(color), edgecolor=color, label=name)
                        for name, color in zip(series, OKABE_ITO, strict=False)
                        if name
                    ),
                    *([Line2D([], [], linestyle="", label="paper", **_DIAMOND)] if is_told else []),
                ],
                loc="upper left",
                bbox_to_anchor=(left / width, 1 - (0.14 + head) / height),
                borderaxespad=0,
                borderpad=0,
                ncols=columns,
                labelspacing=0.4,
                columnspacing=1.4,
                handlelength=1.4,
            )
        draw_caption(figure, left, caption)
    return figure


def _number_at(column: int) -> float:
    """Where a column of figures ends, in percent."""
    return 100 + 100 * (_NUMBER * (column + 1) - 0.1) / _PANEL


def _tint(color: str) -> tuple[float, float, float]:
    """A light color of the same hue, on which black can be read."""
    red, green, blue = (1 - _TINT * (1 - part) for part in to_rgb(color))
    return red, green, blue
