"""Epsilon: an exact number, and its gray levels."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cptools.core.epsilon import levels, parse_epsilon

epsilons = st.fractions(min_value=0, max_value=1, max_denominator=1000)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8/255", Fraction(8, 255)),
        ("0.03", Fraction(3, 100)),
        ("0", Fraction(0)),
        (" 16 / 255 ", Fraction(16, 255)),
        ("1", Fraction(1)),
        (".5", Fraction(1, 2)),
        ("1.", Fraction(1)),
        ("3e-2", Fraction(3, 100)),
        ("255/255", Fraction(1)),
    ],
)
def test_parse_epsilon_is_exact(text: str, value: Fraction) -> None:
    assert parse_epsilon(text) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no number"),
        ("eight", "is no number"),
        ("8/255/2", "is no number"),
        ("nan", "is no number"),
        ("inf", "is no number"),
        ("0x8", "is no number"),
        ("\u0668", "is no number"),
        ("1_0/255", "is no number"),
        ("1e999999999", "is no number"),
        ("9" * 1000, "is no number"),
        ("8/\n255 x", "is no number"),
        ("8/0", "divides by zero"),
        ("-8/255", "is negative"),
        (" -0.1", "is negative"),
        ("8", "write 8 gray levels of 255 as 8/255"),
        ("256/255", "is greater than 1"),
        ("1e99", "is greater than 1"),
    ],
)
def test_parse_epsilon_refuses_in_one_line(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        parse_epsilon(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 160


@given(st.text(max_size=30))
def test_parse_epsilon_of_anything_is_in_range_or_one_line(text: str) -> None:
    try:
        value = parse_epsilon(text)
    except ValueError as error:
        lines = str(error).splitlines()
    else:
        assert 0 <= value <= 1
        lines = [str(value)]
    assert len(lines) == 1


@given(epsilons)
def test_parse_epsilon_reads_what_fraction_prints(epsilon: Fraction) -> None:
    assert parse_epsilon(str(epsilon)) == epsilon


@given(st.integers(0, 255), st.fractions(0, 1).filter(lambda f: f < 1))
def test_levels_is_the_exact_floor(whole: int, rest: Fraction) -> None:
    epsilon = min(Fraction(1), (whole + rest) / 255)
    most = levels(epsilon)
    assert Fraction(most, 255) <= epsilon < Fraction(most + 1, 255)
