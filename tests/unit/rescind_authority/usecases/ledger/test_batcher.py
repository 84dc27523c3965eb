"""Questions that queue up are answered together; none is lost, none waits for a window."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager

import pytest

from rescind.errors import RescindError
from rescind_authority.errors import OverloadedError, StoreRefusedError
from rescind_authority.usecases.ledger.batcher import Batcher


class Doubling:
    """An answerer that doubles numbers, and stands still while its gate is shut."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def answer(self, questions: Sequence[int]) -> Sequence[int | RescindError]:
        """Double each; 13 fails alone, 666 with its whole batch."""
        self.batches.append(list(questions))
        await self.gate.wait()
        if 666 in questions:
            raise RescindError("the whole batch")
        return [RescindError("alone") if each == 13 else 2 * each for each in questions]


@asynccontextmanager
async def batching(
    doubling: Doubling, *, most: int = 3, capacity: int = 10
) -> AsyncIterator[Batcher[int, int]]:
    """Run a batcher."""
    batcher = Batcher[int, int](doubling.answer, most=most, capacity=capacity, what="numbers")
    async with asyncio.TaskGroup() as tasks:
        job = tasks.create_task(batcher.run())
        yield batcher
        job.cancel()


async def test_a_single_request_does_not_wait_for_others() -> None:
    doubling = Doubling()
    async with batching(doubling) as batcher:
        assert await batcher.submit(4) == 8
    assert doubling.batches == [[4]]


async def test_requests_queued_during_an_answer_are_answered_together() -> None:
    doubling = Doubling()
    doubling.gate.clear()
    async with batching(doubling) as batcher, asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(batcher.submit(number)) for number in range(6)]
        while not doubling.batches:
            await asyncio.sleep(0)
        doubling.gate.set()
    assert [each.result() for each in asked] == [0, 2, 4, 6, 8, 10]
    assert [number for each in doubling.batches for number in each] == list(range(6))
    assert max(map(len, doubling.batches)) == 3


async def test_an_error_is_raised_to_its_own_request_or_to_its_whole_batch() -> None:
    doubling = Doubling()
    async with batching(doubling) as batcher:
        with pytest.raises(RescindError, match="alone"):
            await batcher.submit(13)
        with pytest.raises(RescindError, match="whole batch"):
            await batcher.submit(666)
        assert await batcher.submit(1) == 2


async def test_a_full_queue_refuses_at_once() -> None:
    doubling = Doubling()
    doubling.gate.clear()
    async with batching(doubling, capacity=2) as batcher, asyncio.TaskGroup() as tasks:
        tasks.create_task(batcher.submit(1))
        while not doubling.batches:
            await asyncio.sleep(0)
        tasks.create_task(batcher.submit(2))
        tasks.create_task(batcher.submit(3))
        await asyncio.sleep(0)
        assert batcher.depth == 2
        with pytest.raises(OverloadedError, match="too many numbers are waiting"):
            await batcher.submit(4)
        doubling.gate.set()


async def test_a_cancelled_caller_does_not_disturb_the_others() -> None:
    doubling = Doubling()
    doubling.gate.clear()
    async with batching(doubling) as batcher, asyncio.TaskGroup() as tasks:
        gone = tasks.create_task(batcher.submit(1))
        stays = tasks.create_task(batcher.submit(2))
        while not doubling.batches:
            await asyncio.sleep(0)
        gone.cancel()
        doubling.gate.set()
    assert stays.result() == 4


async def test_no_caller_waits_for_a_batcher_that_ended() -> None:
    doubling = Doubling()
    doubling.gate.clear()
    async with asyncio.TaskGroup() as tasks, batching(doubling) as batcher:
        waiting = tasks.create_task(batcher.submit(1))
        while not doubling.batches:
            await asyncio.sleep(0)
    assert waiting.cancelled()


async def test_a_request_that_the_store_refuses_is_refused_alone() -> None:
    class Refusing(Doubling):
        async def answer(self, questions: Sequence[int]) -> Sequence[int | RescindError]:
            doubled = await super().answer(questions)
            if {7, 8, 90} & set(questions):
                raise StoreRefusedError("numeric value out of range")
            return doubled

    refusing = Refusing()
    refusing.gate.clear()
    async with batching(refusing, most=100, capacity=100) as batcher, asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(_kind_of(batcher.submit(number))) for number in range(100)]
        await asyncio.sleep(0)
        refusing.gate.set()
    answers = [each.result() for each in asked]
    assert [number for number, answer in enumerate(answers) if answer == "refused"] == [7, 8, 90]
    assert answers[12:15] == [24, "alone", 28]
    assert sum(isinstance(each, int) for each in answers) == 96
    assert len(refusing.batches) < 50


async def _kind_of(answer: Awaitable[int]) -> int | str:
    try:
        return await answer
    except StoreRefusedError:
        return "refused"
    except RescindError as error:
        return str(error)
