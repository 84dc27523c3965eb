"""The wall clock of Postgres, which is set back or forward in some runs.

The steps have a random source of their own, so that a plan does not depend on them.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass
from random import Random

from tests.simulation import network

_IN_RUNS = 0.3


@dataclass(frozen=True, slots=True)
class Step:
    """A step of Postgres's clock, in microseconds, at a second of the run."""

    at_s: float
    by_us: int


class PostgresClock:
    """The wall clock of the Postgres server."""

    def __init__(self, seed: int) -> None:
        random_source = Random(f"clock {seed}")
        self.steps: tuple[Step, ...] = ()
        self._offset_us = 0
        if random_source.random() < _IN_RUNS:
            # Back by an NTP step, or to a standby that is behind; perhaps another step follows.
            back = Step(
                random_source.uniform(1.0, 5.0), -random_source.choice((1, 5, 120, 600)) * 1_000_000
            )
            other = Step(
                random_source.uniform(1.0, 5.0), random_source.choice((-3, 2, 300)) * 1_000_000
            )
            steps = (back, other)[: random_source.choice((1, 1, 2))]
            self.steps = tuple(sorted(steps, key=lambda each: each.at_s))

    def now_us(self) -> int:
        """Return the time of the server in Unix microseconds."""
        return network.now_us() + self._offset_us

    async def run(self, count: Counter[str]) -> None:
        """Apply each step at its time, and count it."""
        for step in self.steps:
            await asyncio.sleep(max(0.0, step.at_s - network.now_s()))
            self._offset_us += step.by_us
            count["Postgres's clock was set back" if step.by_us < 0 else "… forward"] += 1
