"""Times on the border: RFC 3339 outside, Unix microseconds inside."""

from datetime import MAXYEAR, MINYEAR, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime

from rescind.core import times


def _inside(moment: datetime) -> datetime:
    # At the ends of the calendar a time zone, or Postgres's arithmetic, leads to a year that can be
    # kept and never be shown again.
    if not MINYEAR < moment.year < MAXYEAR:
        raise ValueError(f"expected a time of the years {MINYEAR + 1} to {MAXYEAR - 1}")
    return moment


Moment = Annotated[AwareDatetime, AfterValidator(_inside)]
"""A time that a client sends: aware, and well inside the calendar."""


def to_us(moment: datetime) -> int:
    """Read an aware time."""
    return times.to_unix_us(moment)


def maybe_to_us(moment: datetime | None) -> int | None:
    """Read an aware time, if there is one."""
    return None if moment is None else to_us(moment)


def from_us(unix_us: int) -> datetime:
    """Write a time, in UTC."""
    return times.from_unix_us(unix_us)


def maybe_from_us(unix_us: int | None) -> datetime | None:
    """Write a time, if there is one."""
    return None if unix_us is None else from_us(unix_us)
