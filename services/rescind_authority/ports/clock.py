"""What the use cases know of time. `SystemClock` of the runtime is this machine's."""

from typing import Protocol


class Clock(Protocol):
    """A source of time."""

    def monotonic_raw_ns(self) -> int:
        """Return nanoseconds from an arbitrary start: never slewed, still during sleep."""
        ...

    def wall_us(self) -> int:
        """Return Unix microseconds."""
        ...
