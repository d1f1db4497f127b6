"""Rows of images: every pixel where it belongs, every label whole."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cptools.figures.image_grid import Row, image_grid
from cptools.figures.style import save_figure


def rows(*labels: str, num: int = 3, height: int = 8, width: int = 8) -> list[Row]:
    rng = np.random.default_rng(0)
    shape = (num, 3, height, width)
    return [Row(label, rng.integers(0, 256, shape, dtype=np.uint8)) for label in labels]


def png(figure: Any) -> Any:
    buffer = io.BytesIO()
    save_figure(figure, buffer, "png", dpi=100)  # that of the figure: extents hold afterwards
    return np.asarray(Image.open(buffer).convert("RGB"))


def labels(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.texts if text.get_ha() == "right"]


def test_rows_stand_below_each_other_and_images_beside() -> None:
    """At 100 dots an inch a cell of 0.8 inches is 80 pixels: 10 for each of 8."""
    given = rows("clean", "mc", "a label that needs more room than there is")
    picture = png(figure := image_grid(given, ["a", "b", "c"]))
    for i, row in enumerate(given):
        for k, image in enumerate(row.images):
            box = figure.axes[3 * i + k].get_window_extent()
            centers = np.arange(8) * 10 + 5
            down, right = picture.shape[0] - box.y1 + centers, box.x0 + centers
            seen = picture[np.ix_(down.astype(int), right.astype(int))]
            assert np.array_equal(seen, image.transpose(1, 2, 0))
    boxes = [axes.get_window_extent() for axes in figure.axes]
    assert boxes[0].y0 > boxes[3].y1
    assert boxes[1].x0 > boxes[0].x1


@pytest.mark.parametrize(
    ("label", "lines"),
    [
        ("noise 8/255", ["noise 8/255"]),
        ("mc +~jpeg~10 +~noise~8/255", ["mc + jpeg 10", "+ noise 8/255"]),
        ("simclr-sample +~mc", ["simclr-sample", "+ mc"]),
        ("immoderately-long", ["immoderately-long"]),
        (
            "one two three four five six seven eight nine ten eleven twelve",
            ["one two three", "four five six", "seven eight nine", "ten eleven twelve"],
        ),
    ],
)
def test_long_labels_are_broken_at_spaces(label: str, lines: list[str]) -> None:
    """Four lines fit beside an image; here ~ is a no-break space."""
    (shown,) = labels(image_grid(rows(label.replace("~", "\u00a0")), ["a", "b", "c"]))
    assert shown.split("\n") == lines


@pytest.mark.parametrize("height", [2, 8, 24])
@pytest.mark.parametrize("num", [1, 3, 10])
def test_text_and_images_do_not_overlap(num: int, height: int) -> None:
    given = rows(
        "clean", "simclr-sample + mc + jpeg 10 + noise 8/255 + cutout 16", "W" * 20,
        num=num, height=height,
    )  # fmt: skip
    names = ["crescent"] * num
    figure = image_grid(given, names, title="A title " * 6, caption="cp-defend: jpeg 10 | " * 12)
    png(figure)
    boxes = [axes.get_window_extent() for axes in figure.axes]
    boxes += [text.get_window_extent() for text in figure.texts]
    for i, box in enumerate(boxes):
        assert figure.bbox.x0 <= box.x0
        assert box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0
        assert box.y1 <= figure.bbox.y1 + 1
        for other in boxes[:i]:
            assert not box.overlaps(other)


def test_a_long_caption_makes_the_picture_higher_and_no_wider_than_a_page() -> None:
    short = image_grid(rows("a", num=10), ["x"] * 10, caption="short")
    long = image_grid(rows("a", num=10), ["x"] * 10, caption="word " * 100)
    assert long.get_figwidth() < short.get_figwidth() + 1
    assert long.get_figheight() > short.get_figheight() + 0.3
    (caption,) = [text.get_text() for text in long.texts if "word" in text.get_text()]
    assert caption.split() == ["word"] * 100


@pytest.mark.parametrize(
    ("given", "names", "message"),
    [
        ([], [], "K >= 1"),
        (rows("a", num=0), [], "K >= 1"),
        ([Row("a", np.zeros((2, 1, 4, 4), np.uint8))], ["x", "y"], r"\[K, 3, H, W\]"),
        ([Row("a", np.zeros((3, 4, 4), np.uint8))], ["x", "y", "z"], r"\[K, 3, H, W\]"),
        ([*rows("a"), *rows("b", width=9)], ["x", "y", "z"], "of one shape"),
        (rows("a"), ["x", "y"], "K names"),
    ],
)
def test_bad_arguments_are_refused(given: Any, names: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        image_grid(given, names)
