"""Rows of images under one row of names, such as every defense of ten images (CP figure 9)."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cptools.figures.style import (
    FAINT,
    INK,
    caption_lines,
    draw_caption,
    draw_title,
    figure_style,
    plain,
    shorten,
    text_room,
    text_width,
    title_height,
    title_lines,
)

_CELL, _GAP = 0.8, 0.06  # inches
_LEFT, _RIGHT, _NAMES, _TITLE, _CAPTION, _EDGE = 1.05, 0.15, 0.22, 0.26, 0.22, 0.14
_SPACE, _LINE = 0.12, 0.17  # inches: between label and images, of a line of a label
_LETTERS = 13  # that a line of a label has at most, if it can be broken there


@dataclass(frozen=True, eq=False)
class Row:
    """One row.

    Attributes:
        label: What it shows; a long one is broken at spaces, but not at no-break spaces.
        images: uint8 [K, 3, H, W].
        note: In small letters below a short label.
    """

    label: str
    images: NDArray[np.uint8]
    note: str = ""


def image_grid(
    rows: Sequence[Row], names: Sequence[str], *, title: str = "", caption: str = ""
) -> Figure:
    """Draw images in rows, one column a name.

    Args:
        rows: From top to bottom, all of one shape; ten columns fill a page.
        names: What stands above each column, such as the class names.
        title: Above the figure.
        caption: Below it.

    Returns:
        The figure, for `save_figure`. Images are enlarged without smoothing.

    Raises:
        ValueError: There is nothing to draw, or the shapes do not fit together.
    """
    shapes = [row.images.shape for row in rows]
    if not rows or any(len(shape) != 4 or shape[1] != 3 or not shape[0] for shape in shapes):
        raise ValueError(f"expected rows of images [K, 3, H, W] with K >= 1, got {shapes}")
    if shapes != [shapes[0]] * len(rows) or len(names) != shapes[0][0]:
        raise ValueError(f"expected rows of one shape and K names, got {shapes} and {len(names)}")
    num, _, height_pixels, width_pixels = shapes[0]
    cell = (_CELL, _CELL * height_pixels / width_pixels)
    with figure_style():
        room = max(num * (cell[0] + _GAP) - _GAP, text_room(title, caption))
        title, caption = title_lines(title, room), caption_lines(caption, room)
        top = _EDGE + title_height(title, _TITLE) + _NAMES
        bottom = _EDGE + (_CAPTION if caption else 0) + _LINE * caption.count("\n")
        height = top + len(rows) * (cell[1] + _GAP) - _GAP + bottom
        labels = [_broken(row.label, most=max(1, int(cell[1] / _LINE))) for row in rows]
        left = max(_LEFT, *(_EDGE + text_width(label, 10) + _SPACE for label in labels))
        width = left + room + _RIGHT
        figure = Figure(figsize=(width, height))
        draw_title(figure, left, title, edge=_EDGE)
        for i, row in enumerate(rows):
            y = height - top - cell[1] - i * (cell[1] + _GAP)
            middle = (y + cell[1] / 2) / height
            figure.text(
                (left - _SPACE) / width, middle + (0.04 / height if row.note else 0), labels[i],
                ha="right", va="bottom" if row.note else "center", fontsize=10, color=INK,
            )  # fmt: skip
            if row.note:
                figure.text(
                    (left - _SPACE) / width, middle - 0.01 / height, row.note.replace(" ", "\n", 1),
                    ha="right", va="top", fontsize=7, color=FAINT, linespacing=1.3,
                )  # fmt: skip
            for k, image in enumerate(row.images):
                x = left + k * (cell[0] + _GAP)
                axes = figure.add_axes(
                    (x / width, y / height, cell[0] / width, cell[1] / height), label=f"{i} {k}"
                )
                axes.imshow(image.transpose(1, 2, 0), interpolation="nearest", aspect="auto")
                axes.set_axis_off()
                if i == 0:
                    figure.text(
                        (x + cell[0] / 2) / width, (y + cell[1] + 0.06) / height,
                        shorten(names[k]), ha="center", va="bottom", fontsize=8, color=INK,
                    )  # fmt: skip
        draw_caption(figure, left, caption, edge=_EDGE)
    return figure


def _broken(label: str, *, most: int) -> str:
    """A label in at most so many lines, as short as that allows."""
    label = plain(label)
    attempts = (
        textwrap.wrap(label, letters, break_long_words=False, break_on_hyphens=False)
        for letters in range(_LETTERS, _LETTERS + len(label) + 1)
    )
    lines = next(lines for lines in attempts if len(lines) <= most)
    return "\n".join(lines).replace("\u00a0", " ")
