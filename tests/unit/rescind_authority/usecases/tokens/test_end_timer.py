"""What was to end at a time is ended by an event: once, at its time, whatever fails meanwhile."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable

import pytest
from tests.support import timed_ends
from tests.support.grants import grant
from tests.support.postgres_in_memory import Transaction
from tests.support.timed_ends import S_US, START_US, TimedEnds

from rescind.core.handles import Handle, select
from rescind.core.revocation import ENDED, Restriction, Revocation
from rescind_authority import actors
from rescind_authority.errors import TokenMovedError
from rescind_authority.ports.ledger import (
    Change,
    CommittedEvent,
    End,
    Expiry,
    IdempotentRequest,
    Key,
    Rotation,
)
from rescind_authority.ports.tokens import IssueTimes, NewToken, ScheduledEnd
from rescind_authority.usecases.ledger.sequencer import LedgerCommand, Sequencer
from rescind_authority.usecases.lookups.resolver import record_of
from rescind_authority.usecases.tokens.end_timer import EndTimer

TOKEN_ID = "tok_01kdvdsdg0000g40r40m30e209"
OLD, NEW = bytes([1]) * 32, bytes([2]) * 32


class World(TimedEnds):
    """One Postgres with one token, and authorities."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        super().__init__(tasks)
        transaction = Transaction(self.cluster, self.trip)
        transaction.store(TOKEN, IssueTimes(START_US, 0, START_US + 3_600 * S_US))
        transaction.commit()

    def authority(self) -> tuple[Sequencer, EndTimer]:
        return self.start(bytes)

    async def change(self, sequencer: Sequencer, change: Change) -> CommittedEvent:
        key = f"{change}"
        revocation = Revocation(
            revocation_id=f"rev_{len(self.cluster.tables.entries)}",
            selector=select([f"token:{TOKEN_ID}"], exact=True),
            effect="changed",
            reason="",
            actor="admin:ada",
        )
        idempotency = IdempotentRequest(
            Key("admin:ada", key), hashlib.sha256(key.encode()).digest()
        )
        return await sequencer.commit(
            LedgerCommand(idempotency, revocation, exact=True, change=change)
        )

    async def restrictions(self, token_hash: bytes) -> tuple[Restriction, ...]:
        snapshot = await self.postgres.by_hash([token_hash])
        return record_of(snapshot.tokens[0], snapshot).restrictions


TOKEN = NewToken(
    token_hash=OLD,
    grant=grant(TOKEN_ID, names=(Handle("*"), Handle(f"token:{TOKEN_ID}"))),
)
LATER = Expiry(TOKEN_ID, START_US + 60 * S_US)
OVERLAP = Rotation(TOKEN_ID, None, NEW, 60 * S_US, reuse_revokes=True)


def play(story: Callable[[World], Awaitable[None]]) -> None:
    timed_ends.play(World, story)


@pytest.mark.parametrize(
    "change",
    [
        Expiry(TOKEN_ID, None),
        Expiry(TOKEN_ID, START_US - 1),
        Rotation(TOKEN_ID, OLD, NEW, 0, reuse_revokes=True),
    ],
)
def test_an_immediate_end_takes_effect_with_its_event(change: Change) -> None:
    async def story(here: World) -> None:
        sequencer, _ = here.authority()
        done = await here.change(sequencer, change)
        assert await here.restrictions(OLD) == (Restriction(done.revocation_id, ENDED, done.seq),)
        await asyncio.sleep(100)
        assert here.ends() == []

    play(story)


@pytest.mark.parametrize("change", [LATER, OVERLAP])
def test_a_scheduled_end_is_a_hold_from_its_time_on_and_not_before(change: Change) -> None:
    async def story(here: World) -> None:
        sequencer, timer = here.authority()
        await asyncio.sleep(1)
        await here.change(sequencer, change)
        timer.expect(59)
        await asyncio.sleep(58)
        assert (await here.restrictions(OLD), here.ends()) == ((), [])
        await asyncio.sleep(2.5)
        (event,) = here.ends()
        assert 60 * S_US <= event.at_us - START_US < 61.2 * S_US
        assert await here.restrictions(OLD) == (
            Restriction(event.revocation.revocation_id, ENDED, event.seq),
        )
        here.clock.set_us = -1_800 * S_US
        assert [each.effect for each in await here.restrictions(OLD)] == [ENDED]
        if change is OVERLAP:
            assert await here.restrictions(NEW) == ()

    play(story)


def test_a_scheduled_end_is_found_by_another_authority_after_the_first_one_died() -> None:
    async def story(here: World) -> None:
        sequencer, _ = here.authority()
        here.authority()
        await here.change(sequencer, LATER)
        for task in here.running[:2]:
            task.cancel()
        await asyncio.sleep(66)
        assert len(here.ends()) == 1

    play(story)


def test_three_authorities_and_a_postgres_outage_make_one_event_of_one_end() -> None:
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
        keys = [key for key in here.cluster.tables.keys if key.actor == actors.SCHEDULED_END]
        assert sorted(each.key for each in keys) == sorted([TOKEN_ID, OLD.hex()])

    play(story)


END_OF_TOKEN, END_OF_SECRET = End(TOKEN_ID), End(TOKEN_ID, OLD)


def test_a_clock_that_was_set_back_before_the_time_delays_the_event_and_does_not_lose_it() -> None:
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


def test_an_ended_token_is_not_rotated_or_expired_again_after_the_clock_was_set_back() -> None:
    async def story(here: World) -> None:
        sequencer, _ = here.authority()
        await here.change(sequencer, Expiry(TOKEN_ID, None))
        here.clock.set_us = -1_800 * S_US
        for change in (OVERLAP, LATER, END_OF_TOKEN):
            with pytest.raises(TokenMovedError):
                await here.change(sequencer, change)

    play(story)


def test_a_token_expired_earlier_than_first_meant_ends_at_the_earlier_time() -> None:
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
def test_an_end_that_comes_before_the_next_look_is_not_late(after_s: float) -> None:
    """Also one that is committed while the timer looks, and has not seen it."""

    async def story(here: World) -> None:
        sequencer, timer = here.authority()
        await asyncio.sleep(10 + after_s)
        now_us = here.clock.wall_us()
        await here.change(sequencer, Expiry(TOKEN_ID, now_us + S_US))
        timer.expect(1)
        await asyncio.sleep(1.1)
        assert len(here.ends()) == 1

    play(story)


def test_an_end_that_comes_after_the_next_look_needs_no_look_now() -> None:
    async def story(here: World) -> None:
        looked: list[float] = []
        sequencer, timer = here.authority()
        pending = here.postgres.pending

        async def counted(*, limit: int) -> tuple[ScheduledEnd, ...]:
            looked.append(asyncio.get_running_loop().time())
            return await pending(limit=limit)

        here.postgres.pending = counted  # type: ignore[method-assign]  # it counts the looks
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
