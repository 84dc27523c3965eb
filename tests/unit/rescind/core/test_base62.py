"""Numbers of fixed width, big-endian, in `0-9A-Za-z`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescind.core import base62


@pytest.mark.parametrize(
    ("number", "text"), [(0, "000"), (9, "009"), (10, "00A"), (36, "00a"), (61, "00z"), (62, "010")]
)
def test_digits_come_before_capitals_before_small_letters(number: int, text: str) -> None:
    assert base62.encode(number, 3) == text
    assert base62.decode(text) == number


@given(st.integers(min_value=0, max_value=62**54 - 1))
def test_every_number_that_fits_comes_back(number: int) -> None:
    text = base62.encode(number, 54)
    assert len(text) == 54
    assert base62.decode(text) == number


def test_a_number_that_does_not_fit_is_refused() -> None:
    assert base62.encode(62**6 - 1, 6) == "zzzzzz"
    with pytest.raises(OverflowError):
        base62.encode(62**6, 6)


@pytest.mark.parametrize("text", ["_", "-", " ", "é", "٣", "0\n"])
def test_a_character_outside_the_alphabet_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="outside"):
        base62.decode(text)
