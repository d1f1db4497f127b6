"""Text that somebody else wrote, in one line that a terminal shows and does not obey."""

from collections.abc import Sequence


def few(names: Sequence[str]) -> str:
    """The first five names, with commas between them."""
    return ", ".join([*names[:5], *(["..."] if len(names) > 5 else [])])


def shown(text: object) -> str:
    """Text with escapes for whatever is not printable: newlines, control and bidi characters.

    So no name can begin another line, move the cursor or turn the order of what stands beside it.
    """
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text)
    )
