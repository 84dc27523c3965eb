"""Measure functions, and measure two sides in turns.

Other processes on the machine disturb a measurement. The sides are therefore measured in turns
(A B A B …), and the best round of each side is compared with the best round of the other.
"""

import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path

from rescind.core.times import NS_PER_US
from rescind_lab.bench.samples import Samples, Unit
from rescind_runtime import clock

MeasureRound = Callable[[], Awaitable[float]]
"""Measure one round of one side, and return its figure."""


def measure_per_call_us(
    call: Callable[[str], object], arguments: Iterable[str], *, calls: int
) -> float:
    """Call with each argument, and return the mean time of one call, in microseconds.

    `calls` is the number of arguments.
    """
    began_ns = clock.monotonic_raw_ns()
    for argument in arguments:
        call(argument)
    return (clock.monotonic_raw_ns() - began_ns) / calls / NS_PER_US


def read_cpu_s(pid: int) -> float:
    """Return the CPU time of a process (proc(5): utime and stime, in clock ticks)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure_in_turns(
    sides: Mapping[str, MeasureRound], *, rounds: int, unit: Unit
) -> dict[str, Samples]:
    """Measure one round of each side, repeat, and return the samples of each side."""
    figures: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, measure_round in sides.items():
            figures[name].append(await measure_round())
    return {name: Samples(unit, tuple(each)) for name, each in figures.items()}
