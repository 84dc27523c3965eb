"""What was to end at a time is ended by an event: once, at its time, whatever fails meanwhile."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from tests.support import virtual_time
from tests.support.postgres_in_memory import Cluster, PostgresInMemory, Transaction, begun

from rescind.core.delegation import Mandate
from rescind.core.handles import Handle, select
from rescind.core.revocation import ENDED, Event, Hold, Revocation
from rescind.core.tokens import Kind
from rescind.wire.events import Batch
from rescind_authority.errors import StoreUnavailableError, TokenMovedError
from rescind_authority.metrics import Metrics
from rescind_authority.ports.ledger import Change, Claim, End, Expiry, Key, Rotation
from rescind_authority.ports.tokens import Issued, NewToken, Pending
from rescind_authority.usecases.ends import ACTOR, EndTimer
from rescind_authority.usecases.publish import Publisher
from rescind_authority.usecases.recent import Recent
from rescind_authority.usecases.resolve import record_of
from rescind_authority.usecases.sequence import Command, Committed, Sequencer

START_US = 1_800_000_000_000_000
S_US = 1_000_000
TOKEN_ID = "tok_01kdvdsdg0000g40r40m30e209"
OLD, NEW = bytes([1]) * 32, bytes([2]) * 32
METRICS = Metrics()


class Clock:
    """A Postgres whose clock can be set, and authorities whose own clock cannot."""

    def __init__(self) -> None:
        self.set_us = 0

    def now_us(self) -> int:
        return START_US + round(asyncio.get_running_loop().time() * S_US) + self.set_us

    def wall_us(self) -> int:
        return self.now_us()

    def monotonic_raw_ns(self) -> int:
        return round(asyncio.get_running_loop().time() * 1e9)

    boottime_ns = monotonic_raw_ns


class Silent:
    def announce(self, batch: Batch) -> None:
        pass


class World:
    """One Postgres with one token, and authorities."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self.tasks = tasks
        self.clock = Clock()
        self.cluster = Cluster(begun(term_ms=3_000, at_us=START_US), now_us=self.clock.now_us)
        self.away = False
        self.postgres = PostgresInMemory(self.cluster, self._trip)
        self.running: list[asyncio.Task[None]] = []
        transaction = Transaction(self.cluster, self._trip)
        transaction.store(TOKEN, Issued(START_US, 0, START_US + 3_600 * S_US))
        transaction.commit()

    async def _trip(self) -> None:
        await asyncio.sleep(0.001)
        if self.away:
            raise StoreUnavailableError("the test says so")

    def authority(self) -> tuple[Sequencer, EndTimer]:
        publisher = Publisher(announcer=Silent(), recent=Recent(self.postgres))
        sequencer = Sequencer(self.postgres, publisher=publisher, clock=self.clock, metrics=METRICS)
        timer = EndTimer(self.postgres, sequencer=sequencer, clock=self.clock, entropy=bytes)
        for part in (sequencer, timer):
            self.running.append(self.tasks.create_task(part.run()))
        return sequencer, timer

    async def change(self, sequencer: Sequencer, change: Change) -> Committed:
        key = f"{change}"
        revocation = Revocation(
            revocation_id=f"rev_{len(self.cluster.tables.entries)}",
            selector=select([f"token:{TOKEN_ID}"], exact=True),
            effect="changed",
            reason="",
            actor="admin:ada",
        )
        claim = Claim(Key("admin:ada", key), hashlib.sha256(key.encode()).digest())
        return await sequencer.commit(Command(claim, revocation, exact=True, change=change))

    async def holds(self, token_hash: bytes) -> tuple[Hold, ...]:
        snapshot = await self.postgres.by_hash([token_hash])
        return record_of(snapshot.tokens[0], snapshot).holds

    def ends(self) -> list[Event]:
        """The events that the authorities committed by themselves."""
        found = [entry.event for _, entry in self.cluster.tables.entries]
        return [event for event in found if event.revocation.actor == ACTOR]


TOKEN = NewToken(
    token_hash=OLD,
    token_id=TOKEN_ID,
    kind=Kind.AGENT,
    subject="agent:a",
    scopes=(),
    audience=(),
    tenant=None,
    client=None,
    session=None,
    labels=(),
    handles=(Handle("*"), Handle(f"token:{TOKEN_ID}")),
    lineage=(),
    chain=(),
    not_before_us=None,
    mandate=Mandate(),
    created_by="test",
)
LATER = Expiry(TOKEN_ID, START_US + 60 * S_US)
OVERLAP = Rotation(TOKEN_ID, None, NEW, 60 * S_US, reuse_revokes=True)


@asynccontextmanager
async def world() -> AsyncGenerator[World]:
    async with asyncio.TaskGroup() as tasks:
        here = World(tasks)
        yield here
        for task in here.running:
            task.cancel()


def play(story: Callable[[World], Awaitable[None]]) -> None:
    async def told() -> None:
        async with world() as here:
            await story(here)

    virtual_time.run(told())


@pytest.mark.parametrize(
    "change",
    [
        Expiry(TOKEN_ID, None),
        Expiry(TOKEN_ID, START_US - 1),
        Rotation(TOKEN_ID, OLD, NEW, 0, reuse_revokes=True),
    ],
)
def test_what_ends_now_ends_with_the_event_that_says_so(change: Change):
    async def story(here: World) -> None:
        sequencer, _ = here.authority()
        done = await here.change(sequencer, change)
        assert await here.holds(OLD) == (Hold(done.revocation_id, ENDED, done.seq),)
        await asyncio.sleep(100)
        assert here.ends() == []

    play(story)


@pytest.mark.parametrize("change", [LATER, OVERLAP])
def test_what_ends_later_has_no_hold_before_its_time_and_one_from_then_on(change: Change):
    async def story(here: World) -> None:
        sequencer, timer = here.authority()
        await asyncio.sleep(1)
        await here.change(sequencer, change)
        timer.expect(59)
        await asyncio.sleep(58)
        assert (await here.holds(OLD), here.ends()) == ((), [])
        await asyncio.sleep(2.5)
        (event,) = here.ends()
        assert 60 * S_US <= event.at_us - START_US < 61.2 * S_US
        assert await here.holds(OLD) == (Hold(event.revocation.revocation_id, ENDED, event.seq),)
        here.clock.set_us = -1_800 * S_US
        assert [hold.effect for hold in await here.holds(OLD)] == [ENDED]
        if change is OVERLAP:
            assert await here.holds(NEW) == ()

    play(story)


def test_an_authority_that_nobody_told_finds_it_and_one_that_died_is_not_needed():
    async def story(here: World) -> None:
        sequencer, _ = here.authority()
        here.authority()
        await here.change(sequencer, LATER)
        for task in here.running[:2]:
            task.cancel()
        await asyncio.sleep(66)
        assert len(here.ends()) == 1

    play(story)


def test_three_authorities_and_a_postgres_that_goes_away_make_one_event_of_one_end():
    async def story(here: World) -> None:
        sequencer, _ = here.authority()
        here.authority()
        here.authority()
        await here.change(sequencer, LATER)
        await here.change(sequencer, OVERLAP)
        await asyncio.sleep(58)
        here.away = True
        await asyncio.sleep(10)
        here.away = False
        await asyncio.sleep(10)
        kept = {END_OF_TOKEN: 1, END_OF_SECRET: 1}
        assert len(here.ends()) == len(kept)
        assert here.cluster.tables.ending == {}
        keys = [key for key in here.cluster.tables.keys if key.actor == ACTOR]
        assert sorted(each.key for each in keys) == sorted([TOKEN_ID, OLD.hex()])

    play(story)


END_OF_TOKEN, END_OF_SECRET = End(TOKEN_ID), End(TOKEN_ID, OLD)


def test_a_clock_that_was_set_back_before_the_time_delays_the_event_and_does_not_lose_it():
    async def story(here: World) -> None:
        sequencer, _ = here.authority()
        await here.change(sequencer, LATER)
        await asyncio.sleep(30)
        here.clock.set_us = -120 * S_US
        await asyncio.sleep(149)
        assert here.ends() == []
        await asyncio.sleep(7)
        assert len(here.ends()) == 1

    play(story)


def test_what_has_ended_is_neither_rotated_nor_expired_again_though_its_time_seems_to_come():
    async def story(here: World) -> None:
        sequencer, _ = here.authority()
        await here.change(sequencer, Expiry(TOKEN_ID, None))
        here.clock.set_us = -1_800 * S_US
        for change in (OVERLAP, LATER, END_OF_TOKEN):
            with pytest.raises(TokenMovedError):
                await here.change(sequencer, change)

    play(story)


def test_a_token_expired_earlier_than_first_meant_ends_at_the_earlier_time():
    async def story(here: World) -> None:
        sequencer, timer = here.authority()
        await here.change(sequencer, LATER)
        await here.change(sequencer, Expiry(TOKEN_ID, START_US + 20 * S_US))
        timer.expect(20)
        await asyncio.sleep(21)
        assert len(here.ends()) == 1
        await asyncio.sleep(60)
        assert len(here.ends()) == 1

    play(story)


@pytest.mark.parametrize("after_s", [0.0, 0.0005, 2.0, 4.9])
def test_an_end_that_comes_before_the_next_look_is_not_late(after_s: float):
    """Also one that is committed while the timer looks, and has not seen it."""

    async def story(here: World) -> None:
        sequencer, timer = here.authority()
        await asyncio.sleep(10 + after_s)
        now_us = here.clock.now_us()
        await here.change(sequencer, Expiry(TOKEN_ID, now_us + S_US))
        timer.expect(1)
        await asyncio.sleep(1.1)
        assert len(here.ends()) == 1

    play(story)


def test_an_end_that_comes_after_the_next_look_needs_no_look_now():
    async def story(here: World) -> None:
        looked: list[float] = []
        sequencer, timer = here.authority()
        pending = here.postgres.pending

        async def counted(*, limit: int) -> tuple[Pending, ...]:
            looked.append(asyncio.get_running_loop().time())
            return await pending(limit=limit)

        here.postgres.pending = counted
        await asyncio.sleep(11)
        before = len(looked)
        for _ in range(100):
            timer.expect(30)
            await asyncio.sleep(0.001)
        assert len(looked) == before
        assert here.ends() == []
        await here.change(sequencer, LATER)
        await asyncio.sleep(60)
        assert len(here.ends()) == 1

    play(story)
