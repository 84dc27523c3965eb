"""Conversion of times: RFC 3339 in the API, Unix microseconds inside."""

from datetime import MAXYEAR, MINYEAR, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime

from rescind.core import times


def _validate_year(moment: datetime) -> datetime:
    # At the ends of the calendar, a time zone or Postgres's arithmetic leads to a year that can be
    # stored but not shown.
    if not MINYEAR < moment.year < MAXYEAR:
        raise ValueError(f"expected a time of the years {MINYEAR + 1} to {MAXYEAR - 1}")
    return moment


Moment = Annotated[AwareDatetime, AfterValidator(_validate_year)]
"""A time from a client: timezone-aware, and not in the first or last year of the calendar."""


def to_us(moment: datetime) -> int:
    """Convert an aware time to Unix microseconds."""
    return times.to_unix_us(moment)


def maybe_to_us(moment: datetime | None) -> int | None:
    """Convert an aware time to Unix microseconds; None stays None."""
    return None if moment is None else to_us(moment)


def from_us(unix_us: int) -> datetime:
    """Convert Unix microseconds to a time in UTC."""
    return times.from_unix_us(unix_us)


def maybe_from_us(unix_us: int | None) -> datetime | None:
    """Convert Unix microseconds to a time in UTC; None stays None."""
    return None if unix_us is None else from_us(unix_us)
