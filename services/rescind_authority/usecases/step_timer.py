"""Run steps of background work, each when it is due."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from rescind.errors import RescindError


async def run_steps(
    due: asyncio.Event, step: Callable[[], Awaitable[float]], *, retry_s: float
) -> None:
    """Run a step when `due` is set or the time of the next step has come, until cancelled.

    A step returns the number of seconds after which the next one is due. A step that fails with a
    RescindError is repeated after `retry_s` seconds: Postgres is unreachable, which is logged
    elsewhere.
    """
    while True:
        due.clear()  # before the step, which may miss changes that are made while it runs
        try:
            pause_s = await step()
        except RescindError:
            pause_s = retry_s
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await due.wait()
