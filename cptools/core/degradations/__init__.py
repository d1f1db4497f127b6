"""What images go through once they are published, as functions with gradients. Torch-free.

Each takes float images [B, 3, H, W] in [0, 1] and a number, and returns the same shape, so that
noise can be learned that survives it (`survive` of the attacks). As text, degradations are
separated by commas: `jpeg:75,resize:0.5,blur:1`. Adding one is a function in a file here and an
entry of DEGRADATIONS.
"""

import math
from typing import NamedTuple

from cptools.core.plugins import suggest


class Degradation(NamedTuple):
    """A degradation and the number that it takes.

    Attributes:
        function: "module:function", of images and the number.
        what: what the number is.
        low: its least value.
        high: its greatest value.
        is_whole: whether it is a whole number.
    """

    function: str
    what: str
    low: float
    high: float
    is_whole: bool = False


_HERE = "cptools.core.degradations."

DEGRADATIONS = {
    "jpeg": Degradation(_HERE + "jpeg:jpeg", "quality", 1, 100, is_whole=True),
    "resize": Degradation(_HERE + "linear:resize", "factor", 0.05, 1),
    "blur": Degradation(_HERE + "linear:blur", "sigma in pixels", 0.1, 16),
}


def parse_degradations(text: str) -> tuple[tuple[str, float], ...]:
    """Read degradations and their numbers from text such as `jpeg:75,blur:1`; none from "".

    Raises:
        ValueError: a name or a number is not one; one line.
    """
    parts = (part.strip() for part in text.split(","))
    return tuple(_parse(part) for part in parts if part)


def _parse(text: str) -> tuple[str, float]:
    name, _, told = text.partition(":")
    if name not in DEGRADATIONS:
        raise ValueError(f"{name!r} is no degradation; {suggest(name, DEGRADATIONS)}")
    kind = DEGRADATIONS[name]
    try:
        number = float(told)
    except ValueError:
        number = math.nan
    if not kind.low <= number <= kind.high or (kind.is_whole and number % 1):
        raise ValueError(
            f"{text!r} is not {name} and its {kind.what}; give {name}:"
            f"{'N' if kind.is_whole else 'X'}, from {kind.low} to {kind.high}"
        )
    return name, number


def check_degradations(value: object) -> str:
    """Degradations as a history has them, from text or a sequence of such texts.

    Raises:
        ValueError: a name or a number is not one; one line.
    """
    if isinstance(value, list | tuple):
        value = ",".join(map(str, value))
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text; give it as jpeg:75,blur:1")
    return ",".join(f"{name}:{number:g}" for name, number in parse_degradations(value))
