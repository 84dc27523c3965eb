"""The ports Clock and BootClock: the clocks of this machine, and those that tests move."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
from tests.simulation.network import Host
from tests.support import virtual_time
from tests.support.clocks import LoopClock, ManualClock

from rescind_runtime.clock import Clock, SystemClock

S_NS, S_US = 10**9, 10**6
CLOCKS: Mapping[str, Callable[[], Clock]] = {
    "system": SystemClock,
    "manual": ManualClock,
    "loop": LoopClock,
    "simulation": lambda: Host("here"),
}


def read(clock: Clock) -> tuple[int, int, int]:
    """Read each clock once: two in nanoseconds, and the wall clock in microseconds."""
    return clock.boottime_ns(), clock.monotonic_raw_ns(), clock.wall_us()


@pytest.mark.parametrize("name", CLOCKS)
async def test_no_clock_goes_back_by_itself(name: str) -> None:
    clock = CLOCKS[name]()
    before = read(clock)
    for _ in range(100):
        after = read(clock)
        assert all(one <= two for one, two in zip(before, after, strict=True))
        before = after


@pytest.mark.parametrize("name", CLOCKS)
async def test_no_time_is_negative(name: str) -> None:
    assert min(read(CLOCKS[name]())) >= 0


@pytest.mark.parametrize("name", ["loop", "simulation"])
def test_a_second_of_the_loop_is_a_second_of_its_clocks(name: str) -> None:
    async def passed() -> tuple[int, ...]:
        clock = CLOCKS[name]()
        before = read(clock)
        await asyncio.sleep(1)  # of virtual time
        return tuple(two - one for one, two in zip(before, read(clock), strict=True))

    assert virtual_time.run(passed()) == (S_NS, S_NS, S_US)


def test_a_clock_that_is_moved_by_a_second_moves_each_of_its_times() -> None:
    clock = ManualClock()
    before = read(clock)
    clock.move(1)
    moved = tuple(two - one for one, two in zip(before, read(clock), strict=True))
    assert moved == (S_NS, S_NS, S_US)
