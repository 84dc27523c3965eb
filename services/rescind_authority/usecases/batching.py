"""Answer together what was asked while the last answer was made: one statement for many askers.

It never waits for a window: under no load a batch is one question, under load it grows by itself.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from rescind.errors import RescindError
from rescind_authority.errors import OverloadedError

_AT_ONCE = 512  # two commits' worth: the next fills while one is under way

Question = TypeVar("Question")
Answer = TypeVar("Answer")


class Batcher(Generic[Question, Answer]):
    """Be a bounded queue in front of a function that answers many questions at once.

    `answer` gives one answer, or one error, for each question, in order. When it raises a
    RescindError, every question of that batch gets it. When the queue is full, OverloadedError.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Question]], Awaitable[Sequence[Answer | RescindError]]],
        *,
        most: int,
        capacity: int,
        what: str,
    ) -> None:
        self._answer = answer
        self._most = most
        self._what = what
        self._queue: asyncio.Queue[tuple[Question, asyncio.Future[Answer]]] = asyncio.Queue(
            capacity
        )

    @property
    def depth(self) -> int:
        """How many questions wait."""
        return self._queue.qsize()

    async def ask(self, question: Question) -> Answer:
        """Queue a question and wait for its answer.

        An asker that is cancelled stops waiting; its question is answered all the same.
        """
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        try:
            self._queue.put_nowait((question, future))
        except asyncio.QueueFull:
            raise OverloadedError(self._what) from None
        return await future

    async def run(self) -> None:
        """Answer batches until cancelled."""
        while True:
            batch = [await self._queue.get()]
            while len(batch) < self._most and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            try:
                await self._settle(batch)
            finally:
                # Whoever still waits here, waits for a task that ended.
                for _, future in batch:
                    future.cancel()

    async def _settle(self, batch: list[tuple[Question, asyncio.Future[Answer]]]) -> None:
        answers: Sequence[Answer | RescindError]
        try:
            answers = await self._answer([question for question, _ in batch])
        except RescindError as error:
            answers = [error] * len(batch)
        for (_, future), answer in zip(batch, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, RescindError):
                future.set_exception(answer)
            else:
                future.set_result(answer)


async def each_of(
    commands: Sequence[Callable[[], Awaitable[Answer]]],
) -> Sequence[Answer | RescindError]:
    """Carry out commands side by side, some at a time; what one raises is its own answer."""
    free = asyncio.Semaphore(_AT_ONCE)

    async def one(command: Callable[[], Awaitable[Answer]]) -> Answer | RescindError:
        async with free:
            try:
                return await command()
            except RescindError as error:
                return error

    async with asyncio.TaskGroup() as tasks:
        answers = [tasks.create_task(one(command)) for command in commands]
    return [answer.result() for answer in answers]
