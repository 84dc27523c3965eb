"""Moments are Unix microseconds inside, and RFC 3339 in text."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescind.core import times

MOMENTS = st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999)  # the years 1 to 9999


@given(MOMENTS)
def test_a_time_that_was_written_is_read_back_unchanged(unix_us: int) -> None:
    assert times.parse_rfc3339(times.rfc3339(unix_us)) == unix_us
    assert times.to_unix_us(times.from_unix_us(unix_us)) == unix_us


@pytest.mark.parametrize(
    ("unix_us", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1, "1970-01-01T00:00:00.000001Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
        (1_800_000_000_500_000, "2027-01-15T08:00:00.500000Z"),
    ],
)
def test_a_moment_is_written_in_utc(unix_us: int, text: str) -> None:
    assert times.rfc3339(unix_us) == text


def test_an_offset_is_read() -> None:
    assert times.parse_rfc3339("1970-01-01T02:00:00+02:00") == 0
    east = timezone(timedelta(hours=2))
    assert times.to_unix_us(datetime(1970, 1, 1, 2, tzinfo=east)) == 0


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(TypeError):
        times.parse_rfc3339("1970-01-01T00:00:00")


@pytest.mark.parametrize("text", ["", "now", "1970-13-01T00:00:00Z"])
def test_an_invalid_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"Invalid isoformat|month must be"):
        times.parse_rfc3339(text)


@pytest.mark.parametrize("unix_us", [253_402_300_800_000_000, 1 << 62, -(1 << 62)])
def test_a_moment_beyond_the_calendar_is_refused(unix_us: int) -> None:
    with pytest.raises(OverflowError):
        times.from_unix_us(unix_us)


def test_the_units_agree() -> None:
    assert times.NS_PER_S == times.NS_PER_MS * 1_000 == times.NS_PER_US * times.US_PER_S
    assert times.US_PER_S == times.US_PER_MS * 1_000
    assert timedelta(microseconds=times.US_PER_S) == timedelta(seconds=1)
    assert times.from_unix_us(0) == datetime(1970, 1, 1, tzinfo=UTC)
