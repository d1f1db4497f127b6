"""Histograms over one another: cosine distances of two views (CP figures 4d and 8)."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from cptools.figures.style import FAINT, LINE_STYLES, OKABE_ITO, figure_style

_LEFT, _RIGHT, _PANEL, _WIDTH = 0.62, 0.25, 2.3, 5.6  # inches


def distance_histograms(
    series: Mapping[str, Sequence[int]],
    edges: Sequence[float],
    *,
    title: str = "",
    caption: str = "",
) -> Figure:
    """Draw the share of images at each distance, one outline a dataset.

    Args:
        series: Label of each dataset -> images in each bin; the paper's poison is blue, so it comes
            first and clean images second.
        edges: Ends of the bins, ascending, one more than bins. Shown from the first to 1, or as
            far as there is any image.
        title: Above the picture.
        caption: One line below it.

    Returns:
        The figure, for `save_figure`.

    Raises:
        ValueError: There is nothing to draw, too much, or counts and edges do not fit.
    """
    if not series or any(not sum(counts) for counts in series.values()):
        raise ValueError("there are no distances to draw")
    if len(series) > len(OKABE_ITO):
        raise ValueError(f"{len(series)} histograms cannot be told apart; at most 7 fit")
    if any(len(counts) != len(edges) - 1 for counts in series.values()):
        raise ValueError(f"expected counts of {len(edges) - 1} bins")
    last = max(i for counts in series.values() for i, count in enumerate(counts) if count)
    above = 0.14 + (0.34 if title else 0) + 0.22 * len(series)
    below = 0.52 + (0.24 if caption else 0)
    height = above + _PANEL + below
    # Room for long text: 11 points bold, 9 points beside a line, 8 points.
    texts = [0.11 * len(title), 0.07 * len(caption), *(0.5 + 0.08 * len(label) for label in series)]
    width = _LEFT + max(_WIDTH, *texts) + _RIGHT
    with figure_style():
        figure = Figure(figsize=(width, height))
        axes = figure.add_axes(
            (_LEFT / width, below / height, 1 - (_LEFT + _RIGHT) / width, _PANEL / height)
        )
        for k, (label, counts) in enumerate(series.items()):
            shares = [100 * count / sum(counts) for count in counts]
            color = OKABE_ITO[k]
            axes.stairs(shares, edges, fill=True, color=color, alpha=0.22, linewidth=0)
            axes.stairs(
                shares, edges, label=label, color=color, linewidth=1.5,
                linestyle=LINE_STYLES[k % len(LINE_STYLES)],
            )  # fmt: skip
        axes.set_xlim(edges[0], max(1.0, edges[last + 1]))
        axes.set_ylim(bottom=0)
        axes.margins(y=0.06)
        axes.set_xlabel("cosine distance of two views")
        axes.set_ylabel("images (%)")
        axes.grid(visible=False, axis="x")
        head = (height - 0.12) / height
        if title:
            figure.text(
                _LEFT / width, head, title, ha="left", va="top", fontsize=11, fontweight="bold"
            )
        figure.legend(
            *axes.get_legend_handles_labels(),
            loc="upper left",
            bbox_to_anchor=(_LEFT / width, head - (0.28 / height if title else 0)),
            borderaxespad=0,
            borderpad=0,
            labelspacing=0.4,
        )
        if caption:
            figure.text(
                _LEFT / width, 0.1 / height, caption,
                ha="left", va="bottom", fontsize=8, color=FAINT,
            )  # fmt: skip
    return figure
