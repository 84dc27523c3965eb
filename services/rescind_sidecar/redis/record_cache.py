"""A reader of records in Redis, used before the authority is asked (port SharedRecordReader).

Redis is not trusted: a record counts only if one of the authority's keys signed it, and the view
stores it only if its hash, its epoch and its `as_of` allow it. So a writer in Redis can make
look-ups slower, and nothing else.

One reader requests, over one connection, all keys that queued up during its last request. After a
request fails, no look-up waits for Redis until a PING, sent every second, is answered. So a failure
delays the look-ups that wait at that moment by at most 50 ms, and no others.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import TypeGuard, cast

import structlog
from redis.asyncio import Redis

from rescind.wire import records
from rescind_runtime.links import RedisLink
from rescind_runtime.net import redis_connection

_DEADLINE_S = 0.05
_PAUSE_S = 1.0
_MAX_AT_ONCE = 128
_CAPACITY = 4_096

_Request = tuple[str, asyncio.Future[bytes | None]]

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


class RedisRecordReader:
    """Read records; `run` sends the requests, and must be running for a record to be found.

    While the queue is full, look-ups skip Redis, too.
    """

    def __init__(self, link: RedisLink | str) -> None:
        self._link = link
        self._queue: asyncio.Queue[_Request] = asyncio.Queue(_CAPACITY)
        self._available = False
        self._fault_log = redis_connection.FaultLog(
            "Redis cannot be used; look-ups go to the authority"
        )

    @property
    def connected(self) -> bool:
        """Return True if Redis answered the last request."""
        return self._available

    async def find(self, epoch: int, token_hash: bytes) -> bytes | None:
        """Return the undecoded record, or None. Never raises, and takes at most 0.1 s."""
        if not self._available:
            return None
        future: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        try:
            self._queue.put_nowait((records.key(epoch, token_hash), future))
        except asyncio.QueueFull:
            return None
        return await future

    async def run(self) -> None:
        """Serve look-ups from Redis until cancelled."""
        async with redis_connection.connection(self._link) as client:
            while True:
                try:
                    await self._serve(client)
                except redis_connection.UNREACHABLE_ERRORS as error:
                    self._fault_log.log(error)
                finally:
                    self._settle_queue()
                await asyncio.sleep(_PAUSE_S)

    async def _serve(self, client: Redis) -> None:
        async with redis_connection.deadline(redis_connection.CONNECT_S):  # no look-up waits for it
            await client.ping()  # pyright: ignore[reportUnknownMemberType] its options are untyped
        _log.info("Redis answers", action="redis.connected")
        self._available = True
        self._fault_log.clear()
        while True:
            batch = [await self._queue.get()]
            while len(batch) < _MAX_AT_ONCE and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            payloads: Sequence[bytes | None] = [None] * len(batch)
            try:
                payloads = await _read(client, [key for key, _ in batch])
            finally:
                _settle(batch, payloads)

    def _settle_queue(self) -> None:
        """Answer all queued look-ups without a record, so that they go to the authority."""
        self._available = False
        while not self._queue.empty():
            _settle([self._queue.get_nowait()], [None])


async def _read(client: Redis, keys: list[str]) -> Sequence[bytes | None]:
    async with redis_connection.deadline(_DEADLINE_S):
        # redis-py has one type for the methods of its two clients; the asynchronous one is used.
        answer = await cast("Awaitable[object]", client.mget(keys))
    if not _is_list(answer) or len(answer) != len(keys):
        raise ValueError("not one answer to each key")
    return [each if isinstance(each, bytes) else None for each in answer]


def _is_list(answer: object) -> TypeGuard[list[object]]:
    return isinstance(answer, list)


def _settle(batch: Sequence[_Request], payloads: Sequence[bytes | None]) -> None:
    for (_, future), payload in zip(batch, payloads, strict=True):
        if not future.done():
            future.set_result(payload)
