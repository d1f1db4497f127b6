"""A small preview of a figure, in the letters of a terminal."""

import io

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from cptools.figures.style import save_figure

_UPPER_HALF = "\u2580"
_FINER = 4  # times as many pixels are drawn, and averaged


def preview(figure: Figure, columns: int, lines: int) -> str:
    """Draw a figure as text, two pixels a letter: the upper half of a block, and what is behind it.

    Args:
        figure: Made by a function of this package.
        columns: Letters that a line has at most; the preview is as wide as it can be.
        lines: That it has at most.

    Returns:
        Lines with escape sequences of 24-bit color, each ended by a newline.
    """
    width, height = figure.get_size_inches()
    columns = max(1, min(columns, round(2 * lines * width / height)))
    buffer = io.BytesIO()
    save_figure(figure, buffer, "png", dpi=_FINER * columns / width)
    buffer.seek(0)
    size = columns, 2 * max(1, round(columns * height / width / 2))
    small = Image.open(buffer).convert("RGB").resize(size, Image.Resampling.BOX)
    return half_blocks(np.asarray(small))


def half_blocks(pixels: NDArray[np.uint8]) -> str:
    """Write pixels as letters, two rows a line.

    Args:
        pixels: uint8 [H, W, 3], H even.

    Returns:
        H / 2 lines of W letters; a color is set where it changes, and reset at the end of a line.

    Raises:
        ValueError: H is odd, or these are no pixels.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.shape[0] % 2:
        raise ValueError(f"expected pixels [H, W, 3] with H even, got {list(pixels.shape)}")
    text = ""
    for upper, lower in zip(pixels[::2].tolist(), pixels[1::2].tolist(), strict=True):
        colors = [(38, *a, 48, *b) for a, b in zip(upper, lower, strict=True)]
        for before, color in zip([None, *colors], colors, strict=False):
            text += _UPPER_HALF if color == before else f"{_code(color)}{_UPPER_HALF}"
        text += "\x1b[0m\n"
    return text


def _code(color: tuple[int, ...]) -> str:
    front, *top, back, red, green, blue = color
    return "\x1b[{};2;{};{};{};{};2;{};{};{}m".format(front, *top, back, red, green, blue)
