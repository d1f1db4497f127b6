"""Histograms over one another: cosine distances of two views (CP figures 4d and 8)."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from cptools.figures.style import (
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

_LEFT, _RIGHT, _PANEL, _WIDTH = 0.62, 0.25, 2.3, 5.6  # inches
_HANDLE = 0.55  # inches: a line of the legend and the space about it


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
        title: Above the figure.
        caption: Below it.

    Returns:
        The figure, for `save_figure`.

    Raises:
        ValueError: There is nothing to draw, too much, or counts and edges do not fit.
    """
    if not series or any(not sum(counts) for counts in series.values()):
        raise ValueError("there are no distances to draw")
    if len(series) > len(OKABE_ITO):
        raise ValueError(f"{len(series)} histograms cannot be distinguished; plot at most 7")
    if any(len(counts) != len(edges) - 1 for counts in series.values()):
        raise ValueError(f"expected counts of {len(edges) - 1} bins")
    last = max(i for counts in series.values() for i, count in enumerate(counts) if count)
    labels = [plain(label) for label in series]
    with figure_style():
        entry = _HANDLE + max(text_width(label, 9) for label in labels)
        room = max(_WIDTH, entry, text_room(title, caption))
        title, caption = title_lines(title, room), caption_lines(caption, room)
        above = 0.14 + title_height(title, 0.34) + 0.22 * len(series)
        below = 0.52 + caption_height(caption)
        height = above + _PANEL + below
        width = _LEFT + room + _RIGHT
        figure = Figure(figsize=(width, height))
        axes = figure.add_axes(
            (_LEFT / width, below / height, 1 - (_LEFT + _RIGHT) / width, _PANEL / height)
        )
        outlines = []
        for k, (label, counts) in enumerate(zip(labels, series.values(), strict=True)):
            shares = [100 * count / sum(counts) for count in counts]
            color = OKABE_ITO[k]
            axes.stairs(shares, edges, fill=True, color=color, alpha=0.22, linewidth=0)
            outline = axes.stairs(
                shares, edges, label=label, color=color, linewidth=1.5,
                linestyle=LINE_STYLES[k % len(LINE_STYLES)],
            )  # fmt: skip
            outlines.append(outline)
        axes.set_xlim(edges[0], max(1.0, edges[last + 1]))
        axes.set_ylim(bottom=0)
        axes.margins(y=0.06)
        axes.set_xlabel("cosine distance of two views")
        axes.set_ylabel("images (%)")
        axes.grid(visible=False, axis="x")
        draw_title(figure, _LEFT, title)
        figure.legend(
            handles=outlines,
            loc="upper left",
            bbox_to_anchor=(_LEFT / width, 1 - (0.12 + title_height(title, 0.28)) / height),
            borderaxespad=0,
            borderpad=0,
            labelspacing=0.4,
        )
        draw_caption(figure, _LEFT, caption)
    return figure
