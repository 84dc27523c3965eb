"""Machines with clocks of their own, and a network between them that does what the seed says."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Literal

_START_US = 1_800_000_000_000_000


Nats = Literal["works", "gone", "silent"]
"""How NATS is from a machine: `silent` takes what is sent, and nothing ever comes of it."""


@dataclass(eq=False)
class Host:
    """A machine. Its clocks run at `rate`, against the simulation's own time."""

    name: str
    rate: float = 1.0
    paused_until_s: float = 0.0
    nats: Nats = "works"
    offset_ns: int = 1_000_000_000_000

    def boottime_ns(self) -> int:
        return self.offset_ns + int(asyncio.get_running_loop().time() * self.rate * 1e9)

    def monotonic_raw_ns(self) -> int:
        return self.boottime_ns()

    def wall_us(self) -> int:
        return now_us()


def now_s() -> float:
    """Give the simulation's own time."""
    return asyncio.get_running_loop().time()


def now_us() -> int:
    """Give the same as Postgres's clock says it."""
    return unix_us(now_s())


def unix_us(at_s: float) -> int:
    """Give a time of the simulation as Postgres's clock would say it."""
    return _START_US + int(at_s * 1_000_000)


@dataclass
class Weather:
    """How a way between two machines is: shares of messages, and seconds."""

    lost: float = 0.0
    doubled: float = 0.0
    slow: float = 0.0
    slow_s: float = 0.0
    cut: bool = False


@dataclass
class Way:
    """One direction between two machines, with dice of its own."""

    random_source: Random
    weather: Weather = field(default_factory=Weather)


class Network:
    """Carry messages, each on its own: what comes in which order is chance."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._ways: dict[tuple[str, str], Way] = {}

    def way(self, source: Host, target: Host) -> Way:
        """Find the way from one machine to another."""
        place = (source.name, target.name)
        if place not in self._ways:
            self._ways[place] = Way(Random(f"{self._seed} {place}"))
        return self._ways[place]

    def heal(self) -> None:
        """Make every way good again."""
        for way in self._ways.values():
            way.weather = Weather()

    def send(self, source: Host, target: Host, deliver: Callable[[], None]) -> None:
        """Send a message: it may come late, twice, after a later one, or never."""
        way = self.way(source, target)
        weather, random_source = way.weather, way.random_source
        if weather.cut or random_source.random() < weather.lost:
            return
        for _ in range(2 if random_source.random() < weather.doubled else 1):
            delay_s = random_source.uniform(0.0002, 0.003)
            if random_source.random() < weather.slow:
                delay_s += random_source.uniform(0.0, weather.slow_s)
            self.after(max(0.0, source.paused_until_s - now_s()) + delay_s, target, deliver)

    def after(self, delay_s: float, target: Host, deliver: Callable[[], None]) -> None:
        """Deliver after so long, and when the machine runs."""

        def arrive() -> None:
            pause_s = target.paused_until_s - now_s()
            if pause_s > 0:
                self.after(pause_s, target, deliver)
            else:
                deliver()

        asyncio.get_running_loop().call_later(delay_s, arrive)
