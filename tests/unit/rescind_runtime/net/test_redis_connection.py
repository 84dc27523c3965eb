"""redis-py drops a cancellation while a connection fails; loops of ours end all the same."""

import asyncio
import contextlib

import pytest

from rescind_runtime.net import redis_connection


@pytest.mark.parametrize("raised", [None, ConnectionError("the server hung up")])
async def test_a_cancellation_that_is_dropped_comes_at_the_end_of_the_block(
    raised: Exception | None,
) -> None:
    async def work() -> None:
        async with redis_connection.deadline(3600):
            with contextlib.suppress(asyncio.CancelledError):  # as redis-py does
                await asyncio.Event().wait()
            if raised is not None:
                raise raised
        raise AssertionError("it went on")

    async with asyncio.TaskGroup() as tasks:
        job = tasks.create_task(work())
        await asyncio.sleep(0)
        job.cancel()
    assert job.cancelled()


async def test_a_deadline_that_passes_is_not_a_cancellation() -> None:
    with pytest.raises(TimeoutError):
        async with redis_connection.deadline(0):
            await asyncio.Event().wait()


async def test_a_deadline_whose_cancellation_was_dropped_is_not_a_cancellation_either() -> None:
    async with redis_connection.deadline(0):
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
