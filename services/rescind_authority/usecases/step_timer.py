"""Run steps of background work, each when it is due."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from rescind.errors import RescindError


async def run_steps(
    due: asyncio.Event, step: Callable[[], Awaitable[float]], *, retry_s: float
) -> None:
    """Run a step whenever `due` is set, and at the latest when the last one said; until cancelled.

    A step returns after how many seconds the next one is due. One that fails with a RescindError
    is repeated after `retry_s`: Postgres is away, which is logged elsewhere.
    """
    while True:
        due.clear()  # before the step, which may not see what comes while it looks
        try:
            pause_s = await step()
        except RescindError:
            pause_s = retry_s
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await due.wait()
