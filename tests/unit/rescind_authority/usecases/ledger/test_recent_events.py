"""The ledger's end in memory: whatever is announced, in whatever order, it never skips one."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from rescind.core import ledger
from rescind.wire.events import MAX_EVENTS, Batch
from rescind_authority.errors import StoreUnavailableError
from rescind_authority.ports.ledger import EventRange, LedgerTip
from rescind_authority.usecases.ledger.recent_events import RecentEvents
from rescind_runtime.clock import SystemClock


class Stored:
    """A ledger in memory, whose payloads are their own numbers."""

    def __init__(self, last: int, *, epoch: int = 1) -> None:
        self.epoch = epoch
        self.last = last
        self.away = False
        self.reads = 0

    async def tip(self) -> LedgerTip:
        """Give the end."""
        return LedgerTip(ledger.Position(self.epoch, self.last, bytes(32)), 10_000, 0)

    async def after(self, seq: int, *, limit: int) -> EventRange:
        """Give what comes after a seq."""
        self.reads += 1
        await asyncio.sleep(0)
        if self.away:
            raise StoreUnavailableError("the test took it away")
        until = min(self.last, seq + limit)
        return EventRange(self.epoch, self.last, seq + 1, payloads(seq + 1, until))


def payloads(first: int, last: int) -> tuple[bytes, ...]:
    """Make the payloads of these seqs."""
    return tuple(b"%d" % seq for seq in range(first, last + 1))


def batch(first: int, last: int, *, epoch: int = 1) -> Batch:
    """Make an announcement."""
    return Batch(epoch, first, bytes(32), bytes(32), awaited=False, payloads=payloads(first, last))


@asynccontextmanager
async def following(
    stored: Stored, *, capacity: int = 1000, max_bytes: int = 10_000
) -> AsyncIterator[RecentEvents]:
    """Run a Recent that has caught up."""
    recent = RecentEvents(stored, clock=SystemClock(), capacity=capacity, max_bytes=max_bytes)
    async with asyncio.TaskGroup() as tasks:
        job = tasks.create_task(recent.run())
        async with asyncio.timeout(5):
            await recent.wait_beyond(stored.last - 1)
        yield recent
        job.cancel()


async def test_the_recent_events_begin_empty_at_the_end_of_the_ledger() -> None:
    async with following(Stored(500)) as recent:
        assert recent.last == 500
        assert recent.after(1, 499) is None
        assert recent.after(1, 500) == ()


async def test_events_that_continue_are_added_and_repeated_ones_are_not() -> None:
    async with following(Stored(1)) as recent:
        recent.offer(batch(2, 4))
        recent.offer(batch(1, 4))
        recent.offer(batch(3, 5))
        assert recent.after(1, 1) == payloads(2, 5)
        assert recent.after(1, 3) == payloads(4, 5)
        assert recent.after(1, 6) is None
        assert recent.after(2, 3) is None


async def test_a_gap_is_read_from_the_store() -> None:
    stored = Stored(1)
    async with following(stored) as recent:
        stored.last = 700
        recent.offer(batch(690, 700))
        async with asyncio.timeout(5):
            await recent.wait_beyond(699)
        assert recent.after(1, 1) == payloads(2, 1 + MAX_EVENTS)
        assert recent.after(1, 600) == payloads(601, 700)


async def test_a_new_epoch_is_adopted_at_its_end() -> None:
    stored = Stored(5)
    async with following(stored) as recent:
        stored.epoch, stored.last = 2, 9
        recent.offer(batch(9, 9, epoch=2))
        async with asyncio.timeout(5):
            await recent.wait_beyond(8)
        assert recent.after(2, 9) == ()
        assert recent.after(1, 5) is None


async def test_events_that_are_no_longer_in_memory_are_read_from_the_store() -> None:
    stored = Stored(1)
    async with following(stored, capacity=3) as recent:
        stored.last = 10
        recent.offer(batch(2, 10))
        reads = stored.reads
        assert (await recent.read(7)).payloads == payloads(8, 10)
        assert stored.reads == reads
        assert (await recent.read(2)).payloads == payloads(3, 10)
        assert stored.reads == reads + 1


async def test_large_events_take_no_more_memory_than_small_ones() -> None:
    stored = Stored(1)
    async with following(stored, max_bytes=5) as recent:
        recent.offer(batch(2, 9))  # a byte each
        assert recent.after(1, 3) is None
        assert recent.after(1, 4) == payloads(5, 9)
        recent.offer(batch(10, 11))  # two bytes each
        assert recent.after(1, 7) is None
        assert recent.after(1, 8) == payloads(9, 11)
        stored.last = 11
        assert (await recent.read(4)).payloads == payloads(5, 11)
        stored.epoch, stored.last = 2, 11
        recent.offer(batch(12, 12, epoch=2))
        async with asyncio.timeout(5):
            while recent.epoch != 2:
                await asyncio.sleep(0)
        recent.offer(batch(12, 13, epoch=2))
        assert recent.after(2, 11) == payloads(12, 13)


async def test_one_event_beyond_the_bound_is_read_from_the_store() -> None:
    stored = Stored(1)
    async with following(stored, max_bytes=0) as recent:
        stored.last = 2
        recent.offer(batch(2, 2))
        assert recent.last == 2
        assert recent.after(1, 1) is None
        assert (await recent.read(1)).payloads == payloads(2, 2)


async def test_an_unavailable_store_is_asked_again() -> None:
    stored = Stored(1)
    async with following(stored) as recent:
        stored.away, stored.last = True, 3
        reads = stored.reads
        recent.offer(batch(3, 3))
        while stored.reads == reads:
            await asyncio.sleep(0)
        stored.away = False
        async with asyncio.timeout(5):
            await recent.wait_beyond(2)
        assert recent.after(1, 1) == payloads(2, 3)


@pytest.mark.parametrize("seed", range(20))
async def test_announcements_in_any_order_lose_and_repeat_nothing(seed: int) -> None:
    random_source = random.Random(seed)
    stored = Stored(1)
    async with following(stored) as recent:
        bounds = sorted(random_source.sample(range(2, 200), 20))
        batches = [batch(a + 1, b) for a, b in zip([1, *bounds], bounds, strict=False)]
        stored.last = bounds[-1]
        for each in random_source.sample(batches, len(batches)):
            if random_source.random() < 0.8:
                recent.offer(each)
            await asyncio.sleep(0)
        recent.offer(batches[-1])
        async with asyncio.timeout(5):
            await recent.wait_beyond(stored.last - 1)
        assert recent.after(1, 1) == payloads(2, bounds[-1])


async def test_waiting_callers_return_at_the_end() -> None:
    async with following(Stored(1)) as recent, asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(recent.wait_beyond(1))
        await asyncio.sleep(0)
        recent.end()
    assert waiting.result() is False
