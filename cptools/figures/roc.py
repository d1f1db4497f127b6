"""ROC curves: how much of the poison is found, and how often alarm is raised without any."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from cptools.figures.style import (
    FAINT,
    LINE_STYLES,
    OKABE_ITO,
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

MOST = len(OKABE_ITO)  # curves that can be distinguished
_PANEL, _LEFT, _EDGE, _BELOW = 3.0, 0.62, 0.2, 0.5  # inches
_TITLE, _LINE = 0.28, 0.22
_HANDLE = 0.55  # inches: a line of the legend and the space about it
_THIN, _STEP = 1.6, 0.9  # points: the width of the last line, and how much wider the one before is


@dataclass(frozen=True)
class Curve:
    """One curve.

    Attributes:
        name: What was looked for.
        alarms: False alarms, fractions in [0, 1] that rise from 0 to 1.
        detections: As many.
        area: Under the curve.
    """

    name: str
    alarms: Sequence[float]
    detections: Sequence[float]
    area: float


def roc_curves(curves: Sequence[Curve], *, title: str = "", caption: str = "") -> Figure:
    """Draw curves over one another, with the area under each in the legend.

    Curves often coincide, on the left and upper edge when nothing is missed: a line is wider than
    those drawn later, so that it can be seen below them.

    Args:
        curves: In the order of the legend.
        title: Above the figure.
        caption: Below it.

    Returns:
        The figure, for `save_figure`.

    Raises:
        ValueError: There is nothing to draw, or too many curves.
    """
    if not curves:
        raise ValueError("there are no ROC curves to draw")
    if len(curves) > MOST:
        raise ValueError(f"{len(curves)} ROC curves cannot be distinguished; plot at most {MOST}")
    labels = [f"{plain(curve.name)}: {curve.area:.3f}" for curve in curves]
    with figure_style():
        entry = _HANDLE + max(text_width(label, 9) for label in labels)
        room = max(_PANEL, entry, text_room(title, caption))
        title, caption = title_lines(title, room), caption_lines(caption, room)
        width = _LEFT + room + _EDGE
        columns = min(len(curves), int(room / entry))
        head = 0.12 + title_height(title, _TITLE)
        above = head + _LINE * -(-len(curves) // columns) + 0.12
        below = _BELOW + caption_height(caption)
        height = above + _PANEL + below
        figure = Figure(figsize=(width, height))
        axes = figure.add_axes((_LEFT / width, below / height, _PANEL / width, _PANEL / height))
        axes.set_xlim(0, 100)
        axes.set_ylim(0, 100)
        axes.set_xlabel("false alarms (%)")
        axes.set_ylabel("detections (%)")
        axes.plot([0, 100], [0, 100], color=FAINT, linewidth=0.8, linestyle=LINE_STYLES[2])
        lines = [
            axes.plot(
                [100 * share for share in curve.alarms],
                [100 * share for share in curve.detections],
                label=label,
                color=OKABE_ITO[k],
                linestyle=LINE_STYLES[k % len(LINE_STYLES)],
                linewidth=_THIN + _STEP * (len(curves) - 1 - k),
                clip_on=False,
            )[0]
            for k, (curve, label) in enumerate(zip(curves, labels, strict=True))
        ]
        draw_title(figure, _LEFT, title)
        figure.legend(
            handles=lines,
            loc="upper left",
            bbox_to_anchor=(_LEFT / width, 1 - head / height),
            borderaxespad=0,
            borderpad=0,
            ncols=columns,
            labelspacing=0.4,
            columnspacing=1.4,
        )
        draw_caption(figure, _LEFT, caption)
    return figure
