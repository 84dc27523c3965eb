"""Hold the end of the ledger in memory.

It serves heartbeat replies, `since`, and callers that follow events. Commits of this authority and
announcements of other authorities feed it, in any order and with gaps. It accepts only events that
continue its own, and reads the rest from Postgres. So it may lag, but it is never wrong.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from itertools import islice

import structlog

from rescind.errors import RescindError
from rescind.wire.events import MAX_EVENTS, Batch, fit
from rescind_authority.ports.clock import Clock
from rescind_authority.ports.ledger import EventRange, Ledger

CAPACITY = 65_536
MAX_BYTES = 32 << 20
_POLL_S = 1.0  # how long a lost announcement of another authority may go unnoticed

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


class RecentEvents:
    """Hold the latest payloads of one epoch, without a gap."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        clock: Clock,
        capacity: int = CAPACITY,
        max_bytes: int = MAX_BYTES,
        on_batch: Callable[[Batch], None] = lambda _batch: None,
    ) -> None:
        """Hold at most `capacity` payloads, and at most `max_bytes` of them.

        `on_batch` is called with each batch that an authority announced.
        """
        self._ledger = ledger
        self._clock = clock
        self._on_batch = on_batch
        self._capacity = capacity
        self._max_bytes = max_bytes
        self._payloads: deque[bytes] = deque()
        self._bytes = 0
        self._epoch = 0
        self._last = 0
        self._behind = asyncio.Event()
        self._moved = asyncio.Event()
        self._ended = False
        self._lost_ns = 0
        self.reaches_postgres = True

    @property
    def epoch(self) -> int:
        """Return the ledger's epoch, or 0 before it was read for the first time."""
        return self._epoch

    @property
    def last(self) -> int:
        """Return the seq of the newest event in memory."""
        return self._last

    def offer(self, batch: Batch) -> None:
        """Append events that continue those in memory.

        If events are missing, they are read from Postgres later.
        """
        self._on_batch(batch)
        if batch.epoch != self._epoch or batch.first_seq > self._last + 1:
            self._behind.set()
            return
        self._extend(batch.payloads[self._last + 1 - batch.first_seq :])

    def after(self, epoch: int, seq: int) -> tuple[bytes, ...] | None:
        """Return up to 256 events after a position.

        Returns None if memory does not reach that position.
        """
        kept = len(self._payloads)
        if epoch != self._epoch or not self._last - kept <= seq <= self._last:
            return None
        start = kept - (self._last - seq)
        return fit(islice(self._payloads, start, start + MAX_EVENTS))

    async def read(self, seq: int) -> EventRange:
        """Return the events after a position that fit into a message.

        They come from memory, or else from Postgres.
        """
        if self._epoch and seq < self._last:
            payloads = self.after(self._epoch, seq)
            if payloads is not None:
                return EventRange(self._epoch, self._last, seq + 1, payloads)
        event_range = await self._ledger.after(seq, limit=MAX_EVENTS)
        return replace(event_range, payloads=fit(event_range.payloads))

    async def wait_beyond(self, seq: int) -> bool:
        """Wait for events after a seq. Return True on their arrival, False if this process ends."""
        while self._last <= seq and not self._ended:
            await self._moved.wait()
        return not self._ended

    def end(self) -> None:
        """Wake every caller that waits for events, because this process ends."""
        self._ended = True
        self._wake()

    async def run(self) -> None:
        """Read missing events from Postgres on demand and once a second, until cancelled."""
        while True:
            try:
                await self._catch_up()
            except RescindError as error:
                self._log_lost(error)
                self._behind.clear()  # the next round tries again
            else:
                self._log_restored()
            try:
                async with asyncio.timeout(_POLL_S):
                    await self._behind.wait()
            except TimeoutError:
                continue

    def _log_lost(self, error: RescindError) -> None:
        if self.reaches_postgres:
            self._lost_ns = self._clock.monotonic_raw_ns()
            _log.error("Postgres is unreachable", action="postgres.lost", why=str(error))
        self.reaches_postgres = False

    def _log_restored(self) -> None:
        if not self.reaches_postgres:
            seconds = (self._clock.monotonic_raw_ns() - self._lost_ns) / 1e9
            _log.info(
                "Postgres is reachable again", action="postgres.back", after_s=round(seconds, 1)
            )
        self.reaches_postgres = True

    async def _catch_up(self) -> None:
        self._behind.clear()
        while True:
            event_range = await self._ledger.after(self._last, limit=MAX_EVENTS)
            if event_range.epoch != self._epoch:
                self._restart_at(event_range)
                continue
            # Announcements may have added events while the statement ran.
            self._extend(event_range.payloads[max(0, self._last + 1 - event_range.first_seq) :])
            if self._last >= event_range.last:
                return

    def _restart_at(self, event_range: EventRange) -> None:
        self._payloads.clear()
        self._bytes = 0
        self._epoch, self._last = event_range.epoch, event_range.last
        self._wake()

    def _extend(self, payloads: tuple[bytes, ...]) -> None:
        if not payloads:
            return
        self._payloads.extend(payloads)
        self._bytes += sum(map(len, payloads))
        self._last += len(payloads)
        while len(self._payloads) > self._capacity or self._bytes > self._max_bytes:
            self._bytes -= len(self._payloads.popleft())
        self._wake()

    def _wake(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()
