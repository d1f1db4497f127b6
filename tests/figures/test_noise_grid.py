"""The noise grid shows the pixels it was given, at the size it says."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cptools.figures.noise_grid import amplify, delta_grid, noise_grid
from cptools.figures.style import save_figure


def poisoned_pair(num: int = 3, height: int = 8, width: int = 8) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    clean = rng.integers(0, 256, (num, 3, height, width), dtype=np.uint8)
    noise = rng.integers(-8, 9, clean.shape)
    return clean, np.clip(clean + noise, 0, 255).astype(np.uint8)


def png(figure: Any, dpi: int = 200) -> tuple[bytes, Any]:
    buffer = io.BytesIO()
    save_figure(figure, buffer, "png", dpi=dpi)
    return buffer.getvalue(), np.asarray(Image.open(buffer).convert("RGB"))


@pytest.mark.parametrize("levels", [1, 8, 16, 255])
def test_amplify_fills_the_range_around_mid_gray(levels: int) -> None:
    clean = np.full(3, 255 if levels == 255 else 100, dtype=np.uint8)
    clean[2] = 0 if levels == 255 else 100
    moved = np.array([0, -levels, levels])
    shown = amplify(clean, (clean + moved).astype(np.uint8), levels)
    assert shown.tolist() == [128, 0, 255]
    values = np.arange(-levels, levels + 1)
    base = np.full(len(values), 127 if levels < 128 else 0)
    if levels < 128:
        steps = amplify(base.astype(np.uint8), (base + values).astype(np.uint8), levels).astype(int)
        assert (steps + steps[::-1] >= 254).all()
        assert (steps + steps[::-1] <= 256).all()
        assert (np.diff(steps) > 0).all()


def test_the_picture_holds_every_pixel() -> None:
    """At 200 dots an inch a cell of 0.8 inches is 160 pixels: 20 for each of 8."""
    clean, poisoned = poisoned_pair()
    figure = noise_grid(clean, poisoned, ["a", "b", "c"], levels=8, title="T", caption="C")
    _, picture = png(figure)
    rows = [clean, amplify(clean, poisoned, 8), poisoned]
    assert len(figure.axes) == 9
    for position, axes in enumerate(figure.axes):
        image = rows[position // 3][position % 3].transpose(1, 2, 0)
        assert np.array_equal(axes.images[0].get_array(), image)
        box = axes.get_position()
        left, top = box.x0 * picture.shape[1], (1 - box.y1) * picture.shape[0]
        centers = np.arange(8) * 20 + 10
        seen = picture[np.ix_((top + centers).astype(int), (left + centers).astype(int))]
        assert np.array_equal(seen, image)


def test_size_follows_the_images() -> None:
    clean, poisoned = poisoned_pair(10)
    names = [str(i) for i in range(10)]
    _, wide = png(noise_grid(clean, poisoned, names, levels=8))
    _, half = png(noise_grid(clean, poisoned, names, levels=8), dpi=100)
    _, titled = png(noise_grid(clean, poisoned, names, levels=8, title="T", caption="C"))
    assert wide.shape[1] == 200 * (1.05 + 10 * 0.86 - 0.06 + 0.15)
    assert half.shape[1] * 2 == wide.shape[1]
    assert titled.shape[0] > wide.shape[0]
    tall_clean, tall_poisoned = poisoned_pair(2, 16, 8)
    figure = noise_grid(tall_clean, tall_poisoned, ["a", "b"], levels=8)
    box = figure.axes[0].get_window_extent()
    assert box.height == pytest.approx(2 * box.width)


def test_labels_say_what_is_seen() -> None:
    clean, poisoned = poisoned_pair(2)
    figure = noise_grid(
        clean, poisoned, ["$5 bill", "an immoderately long name"],
        levels=8, difference="other", changed="noisy", title="T", caption="C",
    )  # fmt: skip
    texts = [text.get_text() for text in figure.texts]
    for expected in ("T", "C", "clean", "other", "noisy", "$5 bill", "an immodera…"):
        assert expected in texts
    assert "±8/255\nshown \u00d715.9" in texts


@pytest.mark.parametrize("format", ["png", "svg"])
def test_same_picture_same_bytes(format: Any) -> None:
    def once() -> bytes:
        buffer = io.BytesIO()
        save_figure(noise_grid(*poisoned_pair(), ["a", "b", "c"], levels=8), buffer, format)
        return buffer.getvalue()

    first = once()
    assert first == once()
    for word in (b"dc:date", b"Matplotlib v", b"Software"):
        assert word not in first


def test_the_users_settings_are_left_alone() -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    with mpl.rc_context({"font.size": 30, "svg.hashsalt": None, "lines.linewidth": 9}):
        figure = noise_grid(*poisoned_pair(), ["a", "b", "c"], levels=8)
        loud, _ = png(figure)
        assert mpl.rcParams["font.size"] == 30
    quiet, _ = png(noise_grid(*poisoned_pair(), ["a", "b", "c"], levels=8))
    assert loud == quiet
    assert dict(mpl.rcParams) == before


def test_bad_arguments_are_refused() -> None:
    clean, poisoned = poisoned_pair()
    with pytest.raises(ValueError, match="and 2 names"):
        noise_grid(clean, poisoned, ["a", "b"], levels=8)
    with pytest.raises(ValueError, match="K >= 1"):
        noise_grid(clean[:0], poisoned[:0], [], levels=8)
    with pytest.raises(ValueError, match="as large as 8 levels, but the bound is 4"):
        noise_grid(clean, poisoned, ["a", "b", "c"], levels=4)
    figure = noise_grid(clean, poisoned, ["a", "b", "c"], levels=8)
    with pytest.raises(ValueError, match="use png or svg"):
        save_figure(figure, io.BytesIO(), "pdf")  # type: ignore[arg-type]


def test_a_delta_alone_is_one_row_of_noise() -> None:
    delta = np.zeros((2, 3, 8, 8), dtype=np.float32)
    delta[0], delta[1] = -1, 1
    figure = delta_grid(delta, ["a", "b"], levels=8, title="t", caption="c")
    pictures = [axes.get_images()[0].get_array() for axes in figure.axes]
    assert [int(np.asarray(p).min()) for p in pictures] == [0, 255]
    assert [int(np.asarray(p).max()) for p in pictures] == [0, 255]
    with pytest.raises(ValueError, match="K names"):
        delta_grid(delta, ["a"], levels=8)
    assert "±8/255\nshown \u00d715.9" in [text.get_text() for text in figure.texts]
    less = delta_grid(delta, ["a", "b"], levels=0)  # than a gray level
    assert not any("255" in text.get_text() for text in less.texts)
