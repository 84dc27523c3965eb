"""Clocks that tests move, or that follow virtual time (port Clock, of each service)."""

import asyncio


class ManualClock:
    """A clock that stands until it is moved."""

    def __init__(self, *, now_ns: int = 10**12, now_us: int | None = None) -> None:
        """Set the time. Without `now_us` the wall clock has the time of the others."""
        self.now_ns = now_ns
        self.now_us = now_ns // 1_000 if now_us is None else now_us

    def boottime_ns(self) -> int:
        return self.now_ns

    def monotonic_raw_ns(self) -> int:
        return self.now_ns

    def wall_us(self) -> int:
        return self.now_us

    def move(self, seconds: float) -> None:
        """Advance the time."""
        self.now_ns += round(seconds * 10**9)
        self.now_us += round(seconds * 10**6)


class LoopClock:
    """The time of the running loop. Its wall clock began at `start_us`, and `set_us` sets it."""

    def __init__(self, start_us: int = 0) -> None:
        self.start_us = start_us
        self.set_us = 0

    def boottime_ns(self) -> int:
        return self.monotonic_raw_ns()

    def monotonic_raw_ns(self) -> int:
        return round(asyncio.get_running_loop().time() * 10**9)

    def wall_us(self) -> int:
        return self.start_us + self.set_us + self.monotonic_raw_ns() // 1_000
