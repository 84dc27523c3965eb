"""The clocks of this machine, and the only place where a service reads one.

Leases count on CLOCK_BOOTTIME, which goes on while the machine sleeps, and waits on
CLOCK_MONOTONIC_RAW, which is not slewed (design 7). The wall clock is for people.
"""

import time
from typing import Protocol

from rescind.errors import RescindError


class UnsupportedPlatformError(RescindError):
    """Raised if this machine lacks a clock that the guarantee needs."""


class Clock(Protocol):
    """A source of time; tests provide their own."""

    def boottime_ns(self) -> int:
        """Return nanoseconds since boot, sleep included."""
        ...

    def monotonic_raw_ns(self) -> int:
        """Return nanoseconds from an arbitrary start, never slewed, standing still during sleep."""
        ...

    def wall_us(self) -> int:
        """Return Unix microseconds."""
        ...


class SystemClock:
    """The clock of this machine."""

    def boottime_ns(self) -> int:
        return boottime_ns()

    def monotonic_raw_ns(self) -> int:
        return monotonic_raw_ns()

    def wall_us(self) -> int:
        return wall_us()


def boottime_ns() -> int:
    """Return nanoseconds since boot, sleep included."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def monotonic_raw_ns() -> int:
    """Return nanoseconds from an arbitrary start, never slewed, standing still during sleep."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)


def wall_us() -> int:
    """Return Unix microseconds."""
    return time.time_ns() // 1_000


def require_linux() -> None:
    """Raise UnsupportedPlatformError if the clocks of the lease do not exist (design 10)."""
    if not (hasattr(time, "CLOCK_BOOTTIME") and hasattr(time, "CLOCK_MONOTONIC_RAW")):
        raise UnsupportedPlatformError(
            "rescind runs on Linux only: a lease is counted on CLOCK_BOOTTIME, which this system "
            "does not have. Run it in a Linux machine, virtual machine or container."
        )
