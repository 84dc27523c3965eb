"""Collect the samples of one side, and compare two sides.

The module is pure, so that the arithmetic can be tested.

The machine is never quiet. So both sides take turns (A B A B …), and each keeps the best of its
rounds. That round contains the least work of other processes. The ratio decides.
"""

import math
import statistics
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from rescind.core.times import NS_PER_US
from rescind_runtime import clock


class Unit(StrEnum):
    """The unit of a figure."""

    US = "µs"
    MS = "ms"
    PER_S = "/s"
    MB = "MB"
    PERCENT_PER_S = "%/s"
    CORES = "cores"

    @property
    def more_is_better(self) -> bool:
        """Whether the larger figure is better."""
        return self is Unit.PER_S


@dataclass(frozen=True, slots=True)
class Samples:
    """The figures of one side: one for each round, at least one."""

    unit: Unit
    figures: tuple[float, ...]

    @property
    def best(self) -> float:
        """The round that was disturbed least."""
        return max(self.figures) if self.unit.more_is_better else min(self.figures)

    @property
    def median(self) -> float:
        """The round in the middle."""
        return statistics.median(self.figures)

    def quantile(self, share: float) -> float:
        """The smallest figure that `share` of the rounds do not exceed (nearest rank)."""
        ordered = sorted(self.figures)
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def ratio(ours: Samples, theirs: Samples) -> float:
    """Return how many times better our best figure is than their best."""
    if ours.unit.more_is_better:
        return ours.best / theirs.best
    return theirs.best / ours.best


def per_call_us(call: Callable[[str], object], arguments: Iterable[str], *, calls: int) -> float:
    """Call with each argument, and return the mean time of one call, in microseconds.

    `calls` is the number of arguments.
    """
    began_ns = clock.monotonic_raw_ns()
    for argument in arguments:
        call(argument)
    return (clock.monotonic_raw_ns() - began_ns) / calls / NS_PER_US


Side = Callable[[], Awaitable[float]]
"""One round of one side: it does its work, and returns its figure."""


async def in_turns(sides: Mapping[str, Side], *, rounds: int, unit: Unit) -> dict[str, Samples]:
    """Measure the sides in turns, so that a disturbance hits all of them alike."""
    figures: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            figures[name].append(await side())
    return {name: Samples(unit, tuple(each)) for name, each in figures.items()}
