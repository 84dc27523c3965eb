"""Batch the questions that arrive while the previous batch is answered.

One statement then answers many callers. The batcher never waits for a time window. Without load, a
batch is one question. Under load, batches grow by themselves.
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

    `answer` returns one answer, or one error, for each question, in order. If it raises a
    RescindError, every question of that batch receives the error. After a StoreRefusedError, the
    batch is divided until the question that causes it is alone, and only that question receives the
    error. If the queue is full, `submit` raises OverloadedError.
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
        """Return the number of questions that wait."""
        return self._queue.qsize()

    async def submit(self, question: Question) -> Answer:
        """Queue a question and wait for its answer.

        A cancelled caller stops waiting, but its question is still answered.
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
                # Callers that still wait here wait for a task that ended.
                for _, future in batch:
                    future.cancel()

    async def _answer_all(self, questions: Sequence[Question]) -> Sequence[Answer | RescindError]:
        try:
            return await self._answer(questions)
        except StoreRefusedError as error:
            # One of the questions is the cause: the halves show which, and the others are answered.
            if len(questions) == 1:
                return [error]
            half = len(questions) // 2
            return [
                *await self._answer_all(questions[:half]),
                *await self._answer_all(questions[half:]),
            ]
        except RescindError as error:
            return [error] * len(questions)

    async def _settle(self, batch: list[tuple[Question, asyncio.Future[Answer]]]) -> None:
        answers = await self._answer_all([question for question, _ in batch])
        for (_, future), answer in zip(batch, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, RescindError):
                future.set_exception(answer)
            else:
                future.set_result(answer)


async def run_concurrently(
    commands: Sequence[Callable[[], Awaitable[Answer]]],
) -> Sequence[Answer | RescindError]:
    """Run commands concurrently, and return the answer or the RescindError of each.

    At most `_AT_ONCE` commands run at the same time.
    """
    free = asyncio.Semaphore(_AT_ONCE)

    async def run_one(command: Callable[[], Awaitable[Answer]]) -> Answer | RescindError:
        async with free:
            try:
                return await command()
            except RescindError as error:
                return error

    async with asyncio.TaskGroup() as tasks:
        answers = [tasks.create_task(run_one(command)) for command in commands]
    return [answer.result() for answer in answers]
