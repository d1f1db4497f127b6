"""Training curves: loss, alignment, uniformity and accuracy over the epochs."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

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

PANELS = {
    "loss": ("Loss", ""),
    "alignment": ("Alignment", "0: the two views agree"),
    "uniformity": ("Uniformity", "lower: more spread out"),
    "accuracy": ("Accuracy", "%, on test images"),
}
_LEFT, _GAP, _RIGHT, _PANEL, _HEIGHT = 0.58, 0.62, 0.2, 2.5, 2.1  # inches
_HANDLE = 0.65  # inches: a line of the legend and the space about it
_MOST_RUNS = len(OKABE_ITO) * len(LINE_STYLES)  # 7 and 4 share no divisor: all pairs differ


def training_curves(
    runs: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    title: str = "",
    caption: str = "",
    epochs: Mapping[str, Sequence[int]] | None = None,
) -> Figure:
    """Draw one panel a quantity, one line a run.

    Args:
        runs: Label of each run -> its curves, one number an epoch, under `loss`, `alignment`,
            `uniformity` and `accuracy`. A quantity that no run has gets no panel.
        title: Above the panels.
        caption: Below them.
        epochs: Label of each run -> the epochs that its numbers are of; left out: 1, 2, ...

    Returns:
        The figure, for `save_figure`.

    Raises:
        ValueError: There is nothing to draw, too many runs, or a quantity without a panel.
    """
    unknown = {name for curves in runs.values() for name in curves} - PANELS.keys()
    if unknown:
        raise ValueError(f"no panel for {sorted(unknown)}; curves are {', '.join(PANELS)}")
    if len(runs) > _MOST_RUNS:
        raise ValueError(f"{len(runs)} runs cannot be distinguished; plot at most {_MOST_RUNS}")
    panels = [name for name in PANELS if any(len(curves.get(name, ())) for curves in runs.values())]
    if not panels:
        raise ValueError("there are no curves to draw")
    num = len(panels)
    labels = [plain(label) for label in runs]
    with figure_style():
        entry = _HANDLE + max(text_width(label, 9) for label in labels) if len(runs) > 1 else 0.0
        room = max(num * (_PANEL + _GAP) - _GAP, entry, text_room(title, caption))
        title, caption = title_lines(title, room), caption_lines(caption, room)
        columns = min(len(runs), int(room / entry)) if entry else 1
        lines = -(-len(runs) // columns) if entry else 0
        head = 0.12 + title_height(title, 0.28)
        above = head + (0.36 if title else 0.3) + 0.22 * lines
        below = 0.52 + caption_height(caption)
        height = _HEIGHT + above + below
        width = _LEFT + room + _RIGHT
        figure = Figure(figsize=(width, height))
        grid = figure.subplots(1, num, squeeze=False)
        panel = (room - _GAP * (num - 1)) / num
        for i, name in enumerate(panels):
            axes = grid[0, i]
            left = _LEFT + i * (panel + _GAP)
            axes.set_position((left / width, below / height, panel / width, _HEIGHT / height))
            heading, note = PANELS[name]
            axes.set_title(heading)
            axes.text(
                1, 1.035, note, transform=axes.transAxes,
                ha="right", va="bottom", fontsize=7, color=FAINT,
            )  # fmt: skip
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
            axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
            axes.grid(visible=False, axis="x")
            axes.margins(x=0.02, y=0.08)
            for k, (label, (run, curves)) in enumerate(zip(labels, runs.items(), strict=True)):
                values = curves.get(name, ())
                axes.plot(
                    epochs[run] if epochs else range(1, len(values) + 1),
                    values,
                    label=label,
                    color=OKABE_ITO[k % len(OKABE_ITO)],
                    linestyle=LINE_STYLES[k % len(LINE_STYLES)],
                    marker="o" if len(values) == 1 else "",
                    markersize=4,
                )
        draw_title(figure, _LEFT, title)
        if entry:
            figure.legend(
                handles=[*grid[0, 0].lines],
                loc="upper left",
                bbox_to_anchor=(_LEFT / width, 1 - head / height),
                borderaxespad=0,
                borderpad=0,
                ncols=columns,
                labelspacing=0.4,
                columnspacing=1.6,
            )
        draw_caption(figure, _LEFT, caption)
    return figure
