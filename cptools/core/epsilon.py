"""The radius of the poison's ball as an exact number. Torch-free.

Epsilon is held as a `Fraction`, because floor(255 * epsilon), the number of gray levels a pixel may
move, is not safe in floats.
"""

import math
import re
from fractions import Fraction

_NUMBER = re.compile(
    r"\s*(?:\d{1,18}\s*/\s*\d{1,18}|(?:\d{1,18}\.?\d{0,18}|\.\d{1,18})(?:[eE][+-]?\d{1,2})?)\s*",
    re.ASCII,
)

_HINT = "give a radius in [0, 1], such as 8/255"

Epsilon = str | int | float | Fraction
"""What a caller may write for epsilon: "8/255", "0.03", 8 / 255, 0 or Fraction(8, 255)."""

_SNAP = 1e-9  # how far a float may be from k / 255 to mean it: 8 / 255 is not 8 levels in floats


def parse_epsilon(epsilon: Epsilon) -> Fraction:
    """Read the radius of the ball, exactly.

    Args:
        epsilon: Text, a fraction such as `8/255` or a number such as `0.03` or `0`; or a number.
            A float within 1e-9 of k / 255 is k levels of 255, any other is what its shortest
            decimal form says.

    Returns:
        The same number, in [0, 1].

    Raises:
        ValueError: It is no number, or a number outside [0, 1]. One line.
    """
    if isinstance(epsilon, str):
        return _from_text(epsilon)
    if isinstance(epsilon, bool) or not isinstance(epsilon, int | float | Fraction):
        raise ValueError(f"epsilon {epsilon!r} is no number; {_HINT}")
    if isinstance(epsilon, float):
        if not math.isfinite(epsilon):
            raise ValueError(f"epsilon {epsilon} is no number; {_HINT}")
        level = round(255 * epsilon)
        is_level = abs(epsilon - level / 255) <= _SNAP
        value = Fraction(level, 255) if is_level else Fraction(repr(float(epsilon)))
    else:
        value = Fraction(epsilon)
    return _in_range(value, str(epsilon))


def _from_text(text: str) -> Fraction:
    shown = repr(text if len(text) <= 40 else text[:40] + "...")
    if re.fullmatch(r"\s*[-\u2212].*", text, re.DOTALL):
        raise ValueError(f"epsilon {shown} is negative; {_HINT}")
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"epsilon {shown} is no number; {_HINT}")
    numerator, slash, denominator = text.partition("/")
    if slash and int(denominator) == 0:
        raise ValueError(f"epsilon {shown} divides by zero; give a radius such as 8/255")
    value = Fraction(int(numerator), int(denominator)) if slash else Fraction(text.strip())
    return _in_range(value, shown)


def _in_range(value: Fraction, shown: str) -> Fraction:
    if value < 0:
        raise ValueError(f"epsilon {shown} is negative; {_HINT}")
    if value > 1:
        raise ValueError(
            f"epsilon {shown} is greater than 1; pixels are in [0, 1]: "
            "write 8 gray levels of 255 as 8/255"
        )
    return value


def levels(epsilon: Epsilon) -> int:
    """Return floor(255 * epsilon): how many gray levels a published pixel may move."""
    radius = parse_epsilon(epsilon)
    return 255 * radius.numerator // radius.denominator
