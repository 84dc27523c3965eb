"""Records into Redis, for the sidecars that ask for them next (port SharedRecords).

It only ever saves a look-up, so it may lose anything: what comes while the queue is full, or while
Redis is away, is dropped and counted, and nobody waits. A sidecar judges by hash, epoch and `as_of`
what it finds there; so neither a lost nor an old record can do harm.
"""

import asyncio
from dataclasses import dataclass

import structlog
from redis.asyncio import Redis

from rescind.core.record import Record
from rescind.wire import records
from rescind_authority.metrics import Metrics
from rescind_runtime import cache

_CAPACITY = 4_096
_MOST_AT_ONCE = 256
_DEADLINE_S = 0.5
_PAUSE_S = 1.0
_US_PER_MS = 1_000

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


@dataclass(frozen=True, slots=True)
class _Kept:
    key: str
    encoded: bytes
    ttl_ms: int


class RedisRecords:
    """Be a bounded queue in front of Redis; `run` empties it."""

    def __init__(self, url: str, metrics: Metrics) -> None:
        self._url = url
        self._metrics = metrics
        self._queue: asyncio.Queue[_Kept] = asyncio.Queue(_CAPACITY)
        self._there = True

    @property
    def connected(self) -> bool:
        """Whether Redis took what it was given last."""
        return self._there

    def keep(self, record: Record, encoded: bytes, *, now_us: int) -> None:
        life_ms = (record.expires_at_us - now_us) // _US_PER_MS
        if life_ms <= 0:
            return
        key = records.key(record.epoch, record.token_hash)
        try:
            self._queue.put_nowait(_Kept(key, encoded, min(life_ms, records.LONGEST_TTL_MS)))
        except asyncio.QueueFull:
            self._metrics.shared(written=0, lost=1)

    async def run(self) -> None:
        """Write what is kept, until cancelled."""
        async with cache.connection(self._url) as client:
            while True:
                batch = [await self._queue.get()]
                while len(batch) < _MOST_AT_ONCE and not self._queue.empty():
                    batch.append(self._queue.get_nowait())
                try:
                    await _write(client, batch)
                except cache.AWAY as error:
                    self._metrics.shared(written=0, lost=len(batch))
                    self._say_lost(error)
                    # Meanwhile the queue fills, and what does not fit is lost: nobody waits.
                    await asyncio.sleep(_PAUSE_S)
                else:
                    self._say_back()
                    self._metrics.shared(written=len(batch), lost=0)

    def _say_lost(self, error: Exception) -> None:
        if self._there:
            _log.warning(
                "Redis cannot be written to; look-ups do without it",
                action="redis.lost",
                why=f"{type(error).__name__}: {error}",
            )
        self._there = False

    def _say_back(self) -> None:
        if not self._there:
            _log.info("Redis can be written to again", action="redis.back")
        self._there = True


async def _write(client: Redis, batch: list[_Kept]) -> None:
    async with asyncio.timeout(_DEADLINE_S):
        async with client.pipeline(transaction=False) as pipeline:
            for kept in batch:
                pipeline.set(kept.key, kept.encoded, px=kept.ttl_ms)
            await pipeline.execute()
