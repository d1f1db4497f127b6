"""Clean images, the poison's noise made visible, and the poisoned images (CP figures 3 and 6)."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cptools.figures.style import FAINT, INK, figure_style, shorten

_CELL, _GAP = 0.8, 0.06  # inches
_LEFT, _RIGHT, _NAMES, _TITLE, _CAPTION, _EDGE = 1.05, 0.15, 0.22, 0.26, 0.22, 0.14


def amplify(
    clean: NDArray[np.uint8], poisoned: NDArray[np.uint8], levels: int
) -> NDArray[np.uint8]:
    """Return the noise around mid gray, scaled so that +-levels fills the range of gray.

    Args:
        clean: uint8 images of any shape.
        poisoned: uint8 images of the same shape.
        levels: Gray levels a pixel may differ by, floor(255 epsilon); at least 1.

    Returns:
        uint8 of that shape: round(127.5 + 127.5 (poisoned - clean) / levels), so 128 where nothing
        changed, 0 and 255 at the bounds.
    """
    difference = poisoned.astype(np.float64) - clean
    return np.clip(np.rint(127.5 + 127.5 * difference / levels), 0, 255).astype(np.uint8)


def noise_grid(
    clean: NDArray[np.uint8],
    poisoned: NDArray[np.uint8],
    names: Sequence[str],
    *,
    levels: int,
    changed: str = "poisoned",
    title: str = "",
    caption: str = "",
) -> Figure:
    """Draw three rows: clean images, amplified noise, poisoned images; one column an image.

    Args:
        clean: uint8 [K, 3, H, W]; ten columns fill a page.
        poisoned: uint8 [K, 3, H, W].
        names: What stands above each column, such as the class names.
        levels: Gray levels a pixel may differ by, floor(255 epsilon); at least 1.
        changed: What the third row is called.
        title: Above the picture.
        caption: One line below it.

    Returns:
        The figure, for `save_figure`. Images are enlarged without smoothing.

    Raises:
        ValueError: The shapes do not fit together, or a pixel differs by more than `levels`.
    """
    if clean.ndim != 4 or clean.shape[1] != 3 or not len(clean):
        raise ValueError(f"expected images [K, 3, H, W] with K >= 1, got {list(clean.shape)}")
    if poisoned.shape != clean.shape or len(names) != len(clean):
        raise ValueError(
            f"expected as many poisoned images and names as clean images {list(clean.shape)}, "
            f"got {list(poisoned.shape)} and {len(names)} names"
        )
    worst = int(np.abs(poisoned.astype(np.int16) - clean).max())
    if levels < 1 or worst > levels:
        raise ValueError(f"the noise is as large as {worst} levels, but the bound is {levels}")
    factor = f"{127.5 / levels:.3g}"
    rows = [
        ("clean", "", clean),
        ("noise", f"±{levels}/255 shown \u00d7{factor}", amplify(clean, poisoned, levels)),
        (changed, "", poisoned),
    ]
    return _grid(rows, names, title=title, caption=caption)


def delta_grid(
    delta: NDArray[np.floating], names: Sequence[str], *, title: str = "", caption: str = ""
) -> Figure:
    """Draw one row: noise alone, a column a perturbation.

    Args:
        delta: float [K, 3, H, W] in [-1, 1]; -1 is black and 1 is full.
        names: What stands above each column.
        title: Above the picture.
        caption: One line below it.

    Returns:
        The figure, for `save_figure`.

    Raises:
        ValueError: The shapes do not fit together.
    """
    if delta.ndim != 4 or delta.shape[1] != 3 or len(names) != len(delta) or not len(delta):
        raise ValueError(
            f"expected noise [K, 3, H, W] and K names, got {list(delta.shape)} and {len(names)}"
        )
    pixels = np.clip(np.rint(127.5 + 127.5 * delta.astype(np.float64)), 0, 255).astype(np.uint8)
    return _grid([("noise", "", pixels)], names, title=title, caption=caption)


def _grid(
    rows: Sequence[tuple[str, str, NDArray[np.uint8]]],
    names: Sequence[str],
    *,
    title: str,
    caption: str,
) -> Figure:
    """Rows of images (label, note, uint8 [K, 3, H, W]) under one row of names."""
    num, _, height_pixels, width_pixels = rows[0][2].shape
    cell = (_CELL, _CELL * height_pixels / width_pixels)
    width = _LEFT + num * (cell[0] + _GAP) - _GAP + _RIGHT
    # Room for the text above and below a narrow picture: 11 points bold, 8 points.
    width = max(width, _LEFT + 0.11 * len(title) + _RIGHT, _LEFT + 0.07 * len(caption) + _RIGHT)
    top = _EDGE + (_TITLE if title else 0) + _NAMES
    bottom = _EDGE + (_CAPTION if caption else 0)
    height = top + len(rows) * (cell[1] + _GAP) - _GAP + bottom
    with figure_style():
        figure = Figure(figsize=(width, height))
        if title:
            figure.text(
                _LEFT / width, 1 - _EDGE / height, title,
                ha="left", va="top", fontsize=11, fontweight="bold",
            )  # fmt: skip
        for i, (label, note, images) in enumerate(rows):
            y = height - top - cell[1] - i * (cell[1] + _GAP)
            middle = (y + cell[1] / 2) / height
            figure.text(
                (_LEFT - 0.12) / width, middle + (0.04 / height if note else 0), label,
                ha="right", va="bottom" if note else "center", fontsize=10, color=INK,
            )  # fmt: skip
            if note:
                figure.text(
                    (_LEFT - 0.12) / width, middle - 0.01 / height, note.replace(" ", "\n", 1),
                    ha="right", va="top", fontsize=7, color=FAINT, linespacing=1.3,
                )  # fmt: skip
            for k, image in enumerate(images):
                x = _LEFT + k * (cell[0] + _GAP)
                axes = figure.add_axes(
                    (x / width, y / height, cell[0] / width, cell[1] / height), label=f"{label} {k}"
                )
                axes.imshow(image.transpose(1, 2, 0), interpolation="nearest", aspect="auto")
                axes.set_axis_off()
                if i == 0:
                    figure.text(
                        (x + cell[0] / 2) / width, (y + cell[1] + 0.06) / height,
                        shorten(names[k]), ha="center", va="bottom", fontsize=8, color=INK,
                    )  # fmt: skip
        if caption:
            figure.text(
                _LEFT / width, _EDGE / height, caption,
                ha="left", va="bottom", fontsize=8, color=FAINT,
            )  # fmt: skip
    return figure
