"""Waits over a Postgres in memory that is set back, or replaced while it goes on answering."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from tests.simulation.trust import Keys
from tests.support import virtual_time
from tests.support.postgres_in_memory import Cluster, PostgresInMemory, Row, begun

from rescind.core.handles import Handle, Selector
from rescind.core.revocation import Event, Revocation
from rescind.wire import events
from rescind.wire.heartbeat import Wanted
from rescind_authority.errors import LostError
from rescind_authority.ports.ledger import Entry
from rescind_authority.usecases.acknowledgements import Acknowledgements
from rescind_authority.usecases.enforce import Enforcer
from rescind_authority.usecases.wait import Progress, Target

TERM_MS = 1_000


class LoopClock:
    def boottime_ns(self) -> int:
        return self.monotonic_raw_ns()

    def monotonic_raw_ns(self) -> int:
        return int(asyncio.get_running_loop().time() * 1e9)

    def wall_us(self) -> int:
        return self.monotonic_raw_ns() // 1_000


class Nobody:
    def call(self, wanted: Wanted) -> None:
        pass


@dataclass
class World:
    cluster: Cluster
    postgres: PostgresInMemory
    enforcer: Enforcer

    async def revoke(self, name: str) -> Target:
        """Commit a revocation, as the sequencer would."""
        async with self.postgres.begin() as transaction:
            standing = await transaction.lock_head()
            revocation = Revocation(name, Selector((Handle("tenant:a"),)), "revoke", "", "ada")
            end = standing.position
            event = Event(end.epoch, end.seq + 1, standing.at_us, revocation)
            after = end.after(events.encode(event))
            entry = Entry(event, events.encode(event), after.head)
            await transaction.append([entry], exact=(), head=after, answers={})
        return Target(name, event.epoch, event.seq, event.at_us)


@asynccontextmanager
async def world() -> AsyncGenerator[World]:
    """Have one sidecar in the rows, which never says a word."""

    async def at_once() -> None:
        await asyncio.sleep(0)

    clock = LoopClock()
    cluster = Cluster(begun(term_ms=TERM_MS, at_us=0), now_us=clock.wall_us)
    cluster.tables.leases[bytes(16)] = Row("search", "strict", 1, 1)
    postgres = PostgresInMemory(cluster, at_once)
    enforcer = Enforcer(
        postgres,
        acknowledgements=Acknowledgements(clock),
        keys=Keys(),
        caller=Nobody(),
        clock=clock,
    )
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(enforcer.run())
        yield World(cluster, postgres, enforcer)
        running.cancel()


def test_a_wait_that_is_over_gives_the_receipt():
    async def story() -> bytes | Progress:
        async with world() as here:
            return await here.enforcer.receipt(await here.revoke("rev_1"), timeout_s=5)

    assert isinstance(virtual_time.run(story()), bytes)


@pytest.mark.parametrize("goes_on", [False, True], ids=["shorter", "as long again"])
def test_what_a_restore_lost_while_somebody_waited_gets_no_receipt(goes_on: bool):
    """Whether the restored ledger has reached the same seq by then, with another event, or not."""

    async def story() -> None:
        async with world() as here:
            backup = here.cluster.tables.copy()
            target = await here.revoke("rev_lost")
            async with asyncio.TaskGroup() as tasks:
                waiting = tasks.create_task(_refused(here.enforcer, target))
                await asyncio.sleep(0.5)
                here.cluster.restore(backup)
                if goes_on:
                    await here.revoke("rev_other")
            assert waiting.result()
            assert await _refused(here.enforcer, target)
            assert "rev_lost" not in here.cluster.tables.receipts

    virtual_time.run(story())


def test_no_receipt_is_signed_that_does_not_say_what_is_enforced(monkeypatch: pytest.MonkeyPatch):
    """The ledger was restored right after the first read."""

    async def story() -> None:
        async with world() as here:
            backup = here.cluster.tables.copy()
            target = await here.revoke("rev_moved")
            read = here.postgres.entries_of

            async def too_late(revocation_id: str) -> tuple[Entry, ...]:
                here.cluster.restore(backup)
                return await read(revocation_id)

            monkeypatch.setattr(here.postgres, "entries_of", too_late)
            assert await _refused(here.enforcer, target)
            assert "rev_moved" not in here.cluster.tables.receipts

    virtual_time.run(story())


async def _refused(enforcer: Enforcer, target: Target) -> bool:
    try:
        await enforcer.receipt(target, timeout_s=5)
    except LostError:
        return True
    return False
