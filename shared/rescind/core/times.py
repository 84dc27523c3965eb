"""Units of time, and RFC 3339 for Unix microseconds. Nothing here reads a clock.

A name ends in the unit of its value: `_s`, `_ms`, `_us`, `_ns`. A moment is Unix microseconds in
UTC; only text that leaves a process is RFC 3339.
"""

from datetime import UTC, datetime, timedelta

NS_PER_US = 1_000
NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
US_PER_MS = 1_000
US_PER_S = 1_000_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_unix_us(moment: datetime) -> int:
    """Return an aware datetime as Unix microseconds."""
    return (moment - _EPOCH) // _MICROSECOND


def from_unix_us(unix_us: int) -> datetime:
    """Return Unix microseconds as a datetime in UTC. Raises OverflowError beyond the year 9999."""
    return _EPOCH + unix_us * _MICROSECOND


def rfc3339(unix_us: int) -> str:
    """Return Unix microseconds as RFC 3339 in UTC, without a fraction if it is zero."""
    return from_unix_us(unix_us).isoformat().replace("+00:00", "Z")


def parse_rfc3339(text: str) -> int:
    """Parse RFC 3339 into Unix microseconds. Raises ValueError, or TypeError without a zone."""
    return to_unix_us(datetime.fromisoformat(text))
