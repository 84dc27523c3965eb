"""Machines with clocks of their own, and a network whose faults come from the seed."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Literal

_START_US = 1_800_000_000_000_000


Nats = Literal["works", "gone", "silent"]
"""The state of NATS for one machine; `silent` accepts messages and delivers none."""


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
    """Return the simulation's own time in seconds."""
    return asyncio.get_running_loop().time()


def now_us() -> int:
    """Return the simulation's time in Unix microseconds."""
    return unix_us(now_s())


def unix_us(at_s: float) -> int:
    """Convert a time of the simulation to Unix microseconds."""
    return _START_US + int(at_s * 1_000_000)


@dataclass
class LinkQuality:
    """The quality of a link: shares of messages (0 to 1), and delays in seconds."""

    lost: float = 0.0
    doubled: float = 0.0
    slow: float = 0.0
    slow_s: float = 0.0
    cut: bool = False


@dataclass
class Link:
    """One direction between two machines, with a random source of its own."""

    random_source: Random
    quality: LinkQuality = field(default_factory=LinkQuality)


class Network:
    """The links between all machines. The order of deliveries is random."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._links: dict[tuple[str, str], Link] = {}

    def link(self, source: Host, target: Host) -> Link:
        """Return the link from one machine to another."""
        place = (source.name, target.name)
        if place not in self._links:
            self._links[place] = Link(Random(f"{self._seed} {place}"))
        return self._links[place]

    def heal(self) -> None:
        """Remove the faults of every link."""
        for way in self._links.values():
            way.quality = LinkQuality()

    def send(self, source: Host, target: Host, deliver: Callable[[], None]) -> None:
        """Send a message. It may arrive late, twice, out of order, or never."""
        way = self.link(source, target)
        quality, random_source = way.quality, way.random_source
        if quality.cut or random_source.random() < quality.lost:
            return
        for _ in range(2 if random_source.random() < quality.doubled else 1):
            delay_s = random_source.uniform(0.0002, 0.003)
            if random_source.random() < quality.slow:
                delay_s += random_source.uniform(0.0, quality.slow_s)
            self.after(max(0.0, source.paused_until_s - now_s()) + delay_s, target, deliver)

    def after(self, delay_s: float, target: Host, deliver: Callable[[], None]) -> None:
        """Deliver after a delay (seconds), and not while the machine is paused."""

        def arrive() -> None:
            pause_s = target.paused_until_s - now_s()
            if pause_s > 0:
                self.after(pause_s, target, deliver)
            else:
                deliver()

        asyncio.get_running_loop().call_later(delay_s, arrive)
