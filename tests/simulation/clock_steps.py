"""The wall clock of Postgres, which is set back in some runs, or left for one that is behind.

What happens is drawn from the seed by dice of their own, so that a plan stays what it was.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass
from random import Random

from tests.simulation import network

_IN_RUNS = 0.3


@dataclass(frozen=True, slots=True)
class Step:
    """At this second of the run Postgres's clock moves by so much."""

    at_s: float
    by_us: int


class PostgresClock:
    """The clock that the server shows."""

    def __init__(self, seed: int) -> None:
        random_source = Random(f"clock {seed}")
        self.steps: tuple[Step, ...] = ()
        self._offset_us = 0
        if random_source.random() < _IN_RUNS:
            # Back by an NTP step or to a standby that is behind; and perhaps on again, or ahead.
            back = Step(
                random_source.uniform(1.0, 5.0), -random_source.choice((1, 5, 120, 600)) * 1_000_000
            )
            other = Step(
                random_source.uniform(1.0, 5.0), random_source.choice((-3, 2, 300)) * 1_000_000
            )
            steps = (back, other)[: random_source.choice((1, 1, 2))]
            self.steps = tuple(sorted(steps, key=lambda each: each.at_s))

    def now_us(self) -> int:
        """Return what it shows."""
        return network.now_us() + self._offset_us

    async def run(self, count: Counter[str]) -> None:
        """Step when it is time."""
        for step in self.steps:
            await asyncio.sleep(max(0.0, step.at_s - network.now_s()))
            self._offset_us += step.by_us
            count["Postgres's clock was set back" if step.by_us < 0 else "… forward"] += 1
