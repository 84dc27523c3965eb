"""A sidecar that stops takes each step only after the one before: without it, no release."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from rescind_sidecar.usecases.shutdown import shut_down


class BrokenError(Exception):
    """A defect of one step."""


class Steps:
    """Each step, noted; the one named in `breaks` raises, the one in `hangs` never ends."""

    def __init__(self, *, breaks: str = "", hangs: str = "") -> None:
        self.taken: list[str] = []
        self._breaks = breaks
        self._hangs = hangs

    def _take(self, step: str) -> None:
        if step == self._breaks:
            raise BrokenError
        self.taken.append(step)

    async def _wait(self, step: str) -> None:
        if step == self._hangs:
            await asyncio.Event().wait()
        self._take(step)

    async def stop_answering(self) -> None:
        await self._wait("stop answering")

    def retire(self) -> None:
        self._take("retire")

    async def release(self) -> None:
        await self._wait("release")

    async def report(self) -> None:
        await self._wait("report")

    async def run(self) -> None:
        serving = AsyncExitStack()
        serving.push_async_callback(self.stop_answering)
        itself: Any = self
        await shut_down(serving, tables=itself, renew=itself, uses=itself)


ORDER = ["stop answering", "retire", "release", "report"]


async def test_it_stops_answering_ends_the_leases_releases_and_reports_in_this_order() -> None:
    steps = Steps()
    await steps.run()
    assert steps.taken == ORDER


@pytest.mark.parametrize("step", ORDER)
async def test_after_a_step_that_fails_no_other_step_is_run(step: str) -> None:
    steps = Steps(breaks=step)
    with pytest.raises(BrokenError):
        await steps.run()
    assert steps.taken == ORDER[: ORDER.index(step)]


@pytest.mark.parametrize("step", ["stop answering", "release", "report"])
async def test_after_a_step_that_is_cancelled_no_other_step_is_run(step: str) -> None:
    """As with a second SIGTERM, which cancels the process's main task."""
    steps = Steps(hangs=step)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(steps.run())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        running.cancel()
    assert running.cancelled()
    assert steps.taken == ORDER[: ORDER.index(step)]
