"""The radius of the poison's ball as an exact number. Torch-free.

Epsilon is a `Fraction`, because floor(255 * epsilon), the number of gray levels a pixel may move,
is not safe in floats.
"""

import re
from fractions import Fraction

_NUMBER = re.compile(
    r"\s*(?:\d{1,18}\s*/\s*\d{1,18}|(?:\d{1,18}\.?\d{0,18}|\.\d{1,18})(?:[eE][+-]?\d{1,2})?)\s*",
    re.ASCII,
)


def parse_epsilon(text: str) -> Fraction:
    """Read the radius of the ball, exactly.

    Args:
        text: A fraction such as `8/255`, or a number such as `0.03` or `0`.

    Returns:
        The same number, in [0, 1].

    Raises:
        ValueError: The text is no number, or a number outside [0, 1]. One line.
    """
    shown = repr(text if len(text) <= 40 else text[:40] + "...")
    if re.fullmatch(r"\s*[-\u2212].*", text, re.DOTALL):
        raise ValueError(f"epsilon {shown} is negative; give a radius in [0, 1], such as 8/255")
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"epsilon {shown} is no number; give a radius in [0, 1], such as 8/255")
    numerator, slash, denominator = text.partition("/")
    if slash and int(denominator) == 0:
        raise ValueError(f"epsilon {shown} divides by zero; give a radius such as 8/255")
    value = Fraction(int(numerator), int(denominator)) if slash else Fraction(text.strip())
    if value > 1:
        raise ValueError(
            f"epsilon {shown} is greater than 1; pixels are in [0, 1]: "
            "write 8 gray levels of 255 as 8/255"
        )
    return value


def levels(epsilon: Fraction) -> int:
    """Return floor(255 * epsilon): how many gray levels a published pixel may move."""
    return 255 * epsilon.numerator // epsilon.denominator
