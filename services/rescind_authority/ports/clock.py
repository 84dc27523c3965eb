"""The clock of the use cases. `SystemClock` of the runtime is this machine's clock."""

from typing import Protocol


class Clock(Protocol):
    """A source of time."""

    def monotonic_raw_ns(self) -> int:
        """Return nanoseconds from an arbitrary start: never slewed, stopped during sleep."""
        ...

    def wall_us(self) -> int:
        """Return Unix microseconds."""
        ...
