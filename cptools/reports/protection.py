"""A page on how much protected photographs are protected."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cptools.reports import html

if TYPE_CHECKING:
    from numpy.typing import NDArray

_AMPLIFIED = 10


def protection_page(
    words: Sequence[str],
    limits: Sequence[str],
    facts: dict[str, Any],
    pictures: "Sequence[tuple[str, NDArray[Any], NDArray[Any]]]",
) -> bytes:
    """A page that needs nothing else: the verdict, what it does not say, numbers, photographs.

    Args:
        words: what was measured, the verdict first.
        limits: what was not.
        facts: the numbers by name.
        pictures: name, uint8 [3, S, S] before, and after.
    """
    verdict, *others = words
    body = [
        f"<p><b>{html.plain(verdict)}</b></p>",
        *(f"<p>{html.plain(line)}</p>" for line in others),
        "<h2>What this does not say</h2>",
        "<ul>", *(f"<li>{html.plain(line)}</li>" for line in limits), "</ul>",
        "<h2>Some of the photographs</h2>",
        html.note(
            "Before, after, and the difference, ten times as strong: the central squares,"
            f" shrunk to {pictures[0][1].shape[-1] if pictures else 0} pixels."
        ),
    ]  # fmt: skip
    for name, before, after in pictures:
        label = f"{name}: before, after, difference"
        body += [html.picture(_side_by_side(before, after), label), html.note(name)]
    rows = [[html.plain(name.replace("_", " ")), _number(value)] for name, value in facts.items()]
    body += ["<h2>Numbers</h2>", html.linked_table(["what", "value"], rows)]
    return html.document("Are these photographs protected?", body)


def _number(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_number, value))
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def _side_by_side(before: "NDArray[Any]", after: "NDArray[Any]") -> bytes:
    import numpy as np

    from cptools.artifacts.pictures import encode_png

    difference = 128 + _AMPLIFIED * (after.astype(int) - before)
    gap = np.full((3, before.shape[1], 6), 255, np.uint8)
    amplified = difference.clip(0, 255).astype(np.uint8)
    return encode_png(np.concatenate([before, gap, after, gap, amplified], axis=2))
