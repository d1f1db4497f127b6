"""JSON from strangers: strict, and within bounds, most of them checked before the parser allocates.

Without numpy: reports are read by it as well.
"""

import json
import math
from typing import Any

from cptools.artifacts.errors import ArtifactError

MAX_VALUES = 500_000  # values in a text, about 80 bytes each; an encoder has some 10 per tensor
MAX_DEPTH = 400  # brackets in brackets; each side input of a side input takes 5
MAX_DIGITS = 64  # characters of a number; the longest that Python writes has 24


def parse_json(text: str | bytes, *, most: int = MAX_VALUES) -> Any:
    """Parse JSON strictly: no repeated keys, no NaN or infinity, integers of 64 bits.

    Args:
        text: UTF-8, where it is bytes.
        most: values that it may hold.

    Raises:
        ValueError: for anything else, and beyond the limits; the message is a phrase of one line.
    """
    if isinstance(text, bytes):
        text = text.decode()  # `json.loads` would take UTF-16 and UTF-32, too
    elif not text.isascii():
        text.encode()  # half a surrogate pair could meet its other half when it is written
    if sum(map(text.count, "[{,:")) > most:
        raise ValueError(f"more than {most} values")
    try:
        value = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=_finite,
            parse_float=_finite,
            parse_int=_integer,
        )
    except RecursionError:
        raise ValueError(f"nested more than {MAX_DEPTH} deep") from None
    _check_depth(value)
    return value


def load_json(text: str | bytes, *, most: int = MAX_VALUES) -> Any:
    """Parse the JSON of a header; see `parse_json`.

    Raises:
        ArtifactError: it cannot be one.
    """
    try:
        return parse_json(text, most=most)
    except ValueError as error:
        raise ArtifactError(f"damaged header: {error}; make the file again") from None


def dump_json(value: object) -> str:
    """Sorted compact JSON in ASCII: the same value gives the same text in every process."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return
    raise ValueError(f"nested more than {MAX_DEPTH} deep")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key appears twice")
    return result


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS or text == "-0" or not -(2**63) <= (value := int(text)) < 2**64:
        raise ValueError(f"{text[:20]} is no integer of 64 bits")
    return value


def _finite(text: str) -> float:
    if len(text) > MAX_DIGITS or not math.isfinite(value := float(text)):
        raise ValueError(f"{text[:20]} is not a finite number")
    return value
