"""Batch the questions that arrive while the previous batch is answered.

One statement then answers many callers. The batcher never waits for a window. Under no load a batch
is one question. Under load it grows by itself.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from rescind.errors import RescindError
from rescind_authority.errors import OverloadedError, StoreRefusedError

_AT_ONCE = 512  # two commits' worth: the next fills while one is under way

Question = TypeVar("Question")
Answer = TypeVar("Answer")


class Batcher(Generic[Question, Answer]):
    """Queue questions, up to a bound, for a function that answers many at once.

    `answer` gives one answer, or one error, for each question, in order. When it raises a
    RescindError, every question of that batch gets it; but a StoreRefusedError gets only the one
    that causes it: the batch is divided until that is alone. Full: OverloadedError.
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
        """Process batches until cancelled."""
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

    async def _answers(self, questions: Sequence[Question]) -> Sequence[Answer | RescindError]:
        try:
            return await self._answer(questions)
        except StoreRefusedError as error:
            # Something in one of them: the halves tell which, and the others are answered.
            if len(questions) == 1:
                return [error]
            half = len(questions) // 2
            return [
                *await self._answers(questions[:half]),
                *await self._answers(questions[half:]),
            ]
        except RescindError as error:
            return [error] * len(questions)

    async def _settle(self, batch: list[tuple[Question, asyncio.Future[Answer]]]) -> None:
        answers = await self._answers([question for question, _ in batch])
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
