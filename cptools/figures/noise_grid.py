"""Clean images, the poison's noise made visible, and the poisoned images (CP figures 3 and 6)."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cptools.figures.image_grid import Row, image_grid


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
    difference: str = "noise",
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
        difference: What the second row is called.
        changed: What the third row is called.
        title: Above the figure.
        caption: Below it.

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
    second = _noise(difference, clean, poisoned, levels)
    rows = [Row("clean", clean), second, Row(changed, poisoned)]
    return image_grid(rows, names, title=title, caption=caption)


def difference_row(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> Row:
    """Second less first images, scaled so that the largest difference fills the range of gray.

    Args:
        first: uint8 [K, 3, H, W].
        second: uint8 [K, 3, H, W].
    """
    levels = int(np.abs(second.astype(np.int16) - first).max())
    if levels == 0:
        return Row("difference", np.full_like(first, 128), "there is\u00a0none")
    return _noise("difference", first, second, levels)


def _noise(label: str, clean: NDArray[np.uint8], poisoned: NDArray[np.uint8], levels: int) -> Row:
    return Row(label, amplify(clean, poisoned, levels), _scale(levels))


def _scale(levels: int) -> str:
    """How noise of at most so many levels is drawn."""
    return f"±{levels}/255 shown \u00d7{127.5 / levels:.3g}"


def delta_grid(
    delta: NDArray[np.floating],
    names: Sequence[str],
    *,
    levels: int,
    title: str = "",
    caption: str = "",
) -> Figure:
    """Draw one row: noise alone, a column a perturbation.

    Args:
        delta: float [K, 3, H, W] in [-1, 1]; -1 is black and 1 is full.
        names: What stands above each column.
        levels: Gray levels that 1 stands for, floor(255 epsilon); below one, none are printed.
        title: Above the figure.
        caption: Below it.

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
    note = _scale(levels) if levels else ""
    return image_grid([Row("noise", pixels, note)], names, title=title, caption=caption)
