"""The writer of records to Redis, where other sidecars find them (port SharedRecordWriter).

Redis only saves look-ups, so records may be lost: while the queue is full, or Redis is unavailable,
they are dropped and counted, and no request waits. A sidecar checks hash, epoch and `as_of` of each
record that it finds. So neither a lost nor an old record does harm.
"""

import asyncio
from dataclasses import dataclass

import structlog
from redis.asyncio import Redis

from rescind.client import causes
from rescind.core.record import Record
from rescind.core.times import US_PER_MS
from rescind.wire import records
from rescind_authority.ports.metrics import Metrics
from rescind_runtime.links import RedisLink
from rescind_runtime.net import redis_connection

_CAPACITY = 4_096
_MAX_AT_ONCE = 256
_DEADLINE_S = 0.5
_PAUSE_S = 1.0

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


@dataclass(frozen=True, slots=True)
class _QueuedRecord:
    key: str
    encoded: bytes
    ttl_ms: int


class RedisRecordWriter:
    """A bounded queue in front of Redis; `run` empties it."""

    def __init__(self, link: RedisLink, metrics: Metrics) -> None:
        self._link = link
        self._metrics = metrics
        self._queue: asyncio.Queue[_QueuedRecord] = asyncio.Queue(_CAPACITY)
        self._connected = True
        self._faults = redis_connection.FaultLog(
            "Redis cannot be written to; look-ups do without it"
        )

    @property
    def connected(self) -> bool:
        """Return True if the last write to Redis succeeded."""
        return self._connected

    def keep(self, record: Record, encoded: bytes, *, now_us: int) -> None:
        life_ms = (record.expires_at_us - now_us) // US_PER_MS
        if life_ms <= 0:
            return
        key = records.key(record.epoch, record.token_hash)
        try:
            self._queue.put_nowait(_QueuedRecord(key, encoded, min(life_ms, records.MAX_TTL_MS)))
        except asyncio.QueueFull:
            self._metrics.shared(written=0, lost=1)

    async def run(self) -> None:
        """Write the queued records, until cancelled."""
        async with redis_connection.connection(self._link) as client:
            await self._check_at_start(client)
            while True:
                batch = [await self._queue.get()]
                while len(batch) < _MAX_AT_ONCE and not self._queue.empty():
                    batch.append(self._queue.get_nowait())
                try:
                    await _write(client, batch)
                except redis_connection.UNREACHABLE_ERRORS as error:
                    self._metrics.shared(written=0, lost=len(batch))
                    self._log_lost(error)
                    # Meanwhile the queue fills, and excess records are lost: no request waits.
                    await asyncio.sleep(_PAUSE_S)
                else:
                    self._log_back()
                    self._metrics.shared(written=len(batch), lost=0)

    async def _check_at_start(self, client: Redis) -> None:
        """Check at the start whether Redis can be used, not with the first record."""
        try:
            async with redis_connection.deadline(_DEADLINE_S):
                await client.ping()  # pyright: ignore[reportUnknownMemberType] untyped options
        except redis_connection.UNREACHABLE_ERRORS as error:
            if causes.of(error).kind is not causes.Fault.TIMEOUT:  # all processes may start at once
                self._log_lost(error)

    def _log_lost(self, error: Exception) -> None:
        self._faults.log(error)
        self._connected = False

    def _log_back(self) -> None:
        if not self._connected:
            _log.info("Redis can be written to again", action="redis.back")
            self._faults.clear()
        self._connected = True


async def _write(client: Redis, batch: list[_QueuedRecord]) -> None:
    async with (
        redis_connection.deadline(_DEADLINE_S),
        client.pipeline(transaction=False) as pipeline,
    ):
        for queued in batch:
            pipeline.set(queued.key, queued.encoded, px=queued.ttl_ms)
        await pipeline.execute()
