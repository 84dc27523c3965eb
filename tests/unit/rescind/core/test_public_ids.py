"""Public names: a prefix and 26 characters that sort by time."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescind.core import public_ids

entropies = st.binary(min_size=10, max_size=10)
times_ms = st.integers(min_value=0, max_value=2**48 - 1)


def test_an_id_from_pinned_time_and_entropy_is_pinned() -> None:
    name = public_ids.make("tok", now_ms=1_767_225_600_000, entropy=bytes(range(10)))
    assert name == "tok_01kdvdna00000g40r40m30e209"


@given(times_ms, entropies)
def test_every_id_has_the_shape_of_the_contract(now_ms: int, entropy: bytes) -> None:
    name = public_ids.make("tok", now_ms=now_ms, entropy=entropy)
    assert re.fullmatch(r"tok_[0-9a-hjkmnp-tv-z]{26}", name)
    assert public_ids.is_id(name, "tok")
    assert not public_ids.is_id(name, "rev")


@given(times_ms, times_ms, entropies, entropies)
def test_ids_sort_by_time_and_then_by_entropy(
    first: int, second: int, one: bytes, other: bytes
) -> None:
    earlier = public_ids.make("tok", now_ms=first, entropy=one)
    later = public_ids.make("tok", now_ms=second, entropy=other)
    assert (earlier < later) == ((first, one) < (second, other))


@pytest.mark.parametrize("now_ms", [-1, 2**48])
def test_a_time_that_does_not_fit_is_refused_for_an_id(now_ms: int) -> None:
    with pytest.raises(ValueError, match="48 bits"):
        public_ids.make("tok", now_ms=now_ms, entropy=bytes(10))


@pytest.mark.parametrize("length", [0, 9, 11])
def test_an_id_needs_exactly_ten_random_bytes(length: int) -> None:
    with pytest.raises(ValueError, match="10 random bytes"):
        public_ids.make("tok", now_ms=0, entropy=bytes(length))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tok",
        "tok_",
        "tok_0000000000000000000000000",
        "tok_000000000000000000000000000",
        "tok_8000000000000000000000000a",
        "tok_0000000000000000000000000i",
        "tok_0000000000000000000000000l",
        "tok_0000000000000000000000000o",
        "tok_0000000000000000000000000u",
        "tok_0000000000000000000000000A",
        "tok_0000000000000000000000000a\n",
        "TOK_0000000000000000000000000a",
        "0000000000000000000000000a",
    ],
)
def test_an_invalid_id_is_not_recognised_as_an_id(text: str) -> None:
    assert not public_ids.is_id(text, "tok")
