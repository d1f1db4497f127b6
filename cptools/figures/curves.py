"""Training curves: the loss and its two halves, alignment and uniformity, over the epochs."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cptools.figures.style import FAINT, LINE_STYLES, OKABE_ITO, figure_style

PANELS = {
    "loss": ("Loss", ""),
    "alignment": ("Alignment", "0: the two views agree"),
    "uniformity": ("Uniformity", "lower: more spread out"),
}
_MOST_RUNS = len(OKABE_ITO) * len(LINE_STYLES)  # 7 and 4 share no divisor: all pairs differ


def training_curves(
    runs: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    title: str = "",
    caption: str = "",
) -> Figure:
    """Draw one panel a quantity, one line a run.

    Args:
        runs: Label of each run -> its curves, one number an epoch, under `loss`, `alignment` and
            `uniformity`. A quantity that no run has gets no panel.
        title: Above the panels.
        caption: One line below them.

    Returns:
        The figure, for `save_figure`.

    Raises:
        ValueError: There is nothing to draw, too many runs, or a quantity without a panel.
    """
    unknown = {name for curves in runs.values() for name in curves} - PANELS.keys()
    if unknown:
        raise ValueError(f"no panel for {sorted(unknown)}; curves are {', '.join(PANELS)}")
    if len(runs) > _MOST_RUNS:
        raise ValueError(f"{len(runs)} runs cannot be told apart; at most {_MOST_RUNS} fit")
    panels = [name for name in PANELS if any(len(curves.get(name, ())) for curves in runs.values())]
    if not panels:
        raise ValueError("there are no curves to draw")
    legend = 1 if len(runs) > 1 else 0
    columns = min(4, len(runs))
    lines = -(-len(runs) // columns) if legend else 0
    width = 0.5 + 3.0 * len(panels)
    above = 0.42 + (0.34 if title else 0) + 0.22 * lines
    below = 0.52 + (0.24 if caption else 0)
    height = 2.1 + above + below
    with figure_style():
        figure = Figure(figsize=(width, height))
        grid = figure.subplots(1, len(panels), squeeze=False)
        left, gap, right = 0.58, 0.62, 0.2
        panel = (width - left - right - gap * (len(panels) - 1)) / len(panels)
        for i, name in enumerate(panels):
            axes = grid[0, i]
            axes.set_position(
                ((left + i * (panel + gap)) / width, below / height, panel / width, 2.1 / height)
            )
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
            for k, (label, curves) in enumerate(runs.items()):
                values = curves.get(name, ())
                axes.plot(
                    range(1, len(values) + 1),
                    values,
                    label=label,
                    color=OKABE_ITO[k % len(OKABE_ITO)],
                    linestyle=LINE_STYLES[k % len(LINE_STYLES)],
                    marker="o" if len(values) == 1 else "",
                    markersize=4,
                )
        head = (height - 0.12) / height
        if title:
            figure.text(
                left / width, head, title, ha="left", va="top", fontsize=11, fontweight="bold"
            )
        if legend:
            figure.legend(
                *grid[0, 0].get_legend_handles_labels(),
                loc="upper left",
                bbox_to_anchor=(left / width, head - (0.28 / height if title else 0)),
                borderaxespad=0,
                borderpad=0,
                ncols=columns,
                labelspacing=0.4,
                columnspacing=1.6,
            )
        if caption:
            figure.text(
                left / width, 0.1 / height, caption,
                ha="left", va="bottom", fontsize=8, color=FAINT,
            )  # fmt: skip
    return figure
