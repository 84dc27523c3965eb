"""Waits where some reads reach an old primary: its sessions outlived it, and it still answers."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from tests.simulation.trust import Keys
from tests.support import virtual_time
from tests.support.clocks import LoopClock
from tests.support.postgres_in_memory import Cluster, PostgresInMemory, Row, begun
from tests.unit.rescind_authority.usecases.enforcement.test_enforcer import (
    TERM_MS,
    Nobody,
    World,
)

from rescind.core import lease
from rescind.core.ledger import Position
from rescind.wire import receipts, signed_envelope
from rescind.wire.heartbeat import Ack
from rescind_authority.errors import LostError
from rescind_authority.ports.ledger import CommittedEvent
from rescind_authority.usecases.enforcement.acknowledgements import Acknowledgements
from rescind_authority.usecases.enforcement.enforcer import Enforcer
from rescind_authority.usecases.enforcement.wait import EnforcementProgress

ONE = b"1" * 16
WAIT_S = lease.wait_ns(TERM_MS) / 1e9


class TwoServers:
    """The port Receipts at the new primary, but for the methods in `stale`: at the old one."""

    def __init__(self, new: PostgresInMemory, old: PostgresInMemory) -> None:
        self._new = new
        self._old = old
        self.stale: set[str] = set()
        self.alternates = False

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._old if name in self.stale else self._new, name)
        if self.alternates:
            self.stale ^= {name}
        return found


@dataclass
class Split(World):
    old: Cluster
    servers: TwoServers
    acknowledgements: Acknowledgements

    async def revoke_at_old(self, name: str) -> None:
        """Have the old primary show an event that no standby ever confirmed."""
        await World(self.old, PostgresInMemory(self.old, _at_once), self.enforcer).revoke(name)

    async def begun(self, target: CommittedEvent) -> "asyncio.Task[bytes | EnforcementProgress]":
        """Begin a wait, and let it make its first reads."""
        waiting = asyncio.get_running_loop().create_task(
            self.enforcer.receipt(replace(target, fresh=True), timeout_s=10)
        )
        await asyncio.sleep(0.05)
        return waiting


async def _at_once() -> None:
    await asyncio.sleep(0)


@asynccontextmanager
async def split() -> AsyncGenerator[Split]:
    """Fail over at the very beginning; one sidecar joins at the new primary, and is silent."""
    clock = LoopClock()
    new = Cluster(begun(term_ms=TERM_MS, at_us=0), now_us=clock.wall_us)
    old = Cluster(new.tables.copy(), now_us=clock.wall_us)
    new.tables.leases[ONE] = Row("search", "strict", 1, 1, epoch=1)
    postgres = PostgresInMemory(new, _at_once)
    servers = TwoServers(postgres, PostgresInMemory(old, _at_once))
    acknowledgements = Acknowledgements(clock)
    enforcer = Enforcer(
        servers,  # it passes every method on
        acknowledgements=acknowledgements,
        keys=Keys(),
        caller=Nobody(),
        clock=clock,
    )
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(enforcer.run())
        yield Split(new, postgres, enforcer, old, servers, acknowledgements)
        running.cancel()


def _outcomes(envelope: bytes | EnforcementProgress) -> dict[bytes, str]:
    assert isinstance(envelope, bytes), envelope
    receipt = receipts.decode(signed_envelope.decode(envelope).content)
    return {each.instance: each.outcome for each in receipt.verifiers}


@pytest.mark.parametrize(
    "shown",
    [
        None,
        Row("search", "strict", 9, 9, epoch=1, acked_seq=9),
        Row("search", "strict", 9, 9, epoch=1, released=True),
    ],
    ids=["it never had the row", "it has its own acknowledgement", "it has a release"],
)
@pytest.mark.parametrize("events", [0, 2], ids=["shorter", "longer"])
def test_rows_read_from_an_old_primary_settle_nothing(shown: Row | None, events: int) -> None:
    async def story() -> None:
        async with split() as here:
            if shown is not None:
                here.old.tables.leases[ONE] = shown
            for number in range(events):
                await here.revoke_at_old(f"rev_of_the_old_{number}")
            waiting = await here.begun(await here.revoke("rev_1"))
            here.servers.stale = {"waiting"}
            await asyncio.sleep(WAIT_S - 0.1)
            assert not waiting.done()
            assert _outcomes(await waiting) == {ONE: "lapsed"}

    virtual_time.run(story())


def test_a_wait_does_not_begin_with_an_old_primary_however_long_its_ledger_is() -> None:
    async def story() -> None:
        async with split() as here:
            for name in ("rev_of_the_old", "another"):
                await here.revoke_at_old(name)
            target = await here.revoke("rev_1")
            here.servers.stale = {"waiting"}
            waiting = await here.begun(target)
            await asyncio.sleep(2 * WAIT_S)
            here.servers.stale = set()
            await asyncio.sleep(WAIT_S - 0.1)
            assert not waiting.done()
            assert _outcomes(await waiting) == {ONE: "lapsed"}

    virtual_time.run(story())


@pytest.mark.parametrize(
    "method", ["waiting", "entries_of", "keep"], ids=["begin", "read the events", "keep"]
)
def test_an_event_that_an_old_primary_does_not_know_is_not_reported_as_lost(method: str) -> None:
    async def story() -> None:
        async with split() as here:
            target = await here.revoke("rev_1")
            here.servers.stale = {method}
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(3 * WAIT_S):
                    await asyncio.shield(here.enforcer.begin(target).envelope)
            here.servers.stale = set()
            assert _outcomes(await here.enforcer.receipt(target, timeout_s=5)) == {ONE: "lapsed"}

    virtual_time.run(story())


def test_an_event_that_a_later_epoch_does_not_know_is_lost() -> None:
    async def story() -> None:
        async with split() as here:
            backup = here.cluster.tables.copy()
            target = await here.revoke("rev_1")
            here.servers.stale = {"keep"}
            waiting = await here.begun(target)
            await asyncio.sleep(2 * WAIT_S)
            here.cluster.restore(backup)
            with pytest.raises(LostError):
                await waiting

    virtual_time.run(story())


def test_an_acknowledgement_of_events_that_only_an_old_primary_has_does_not_count() -> None:
    async def story() -> None:
        async with split() as here:
            for name in ("rev_of_the_old", "another"):
                await here.revoke_at_old(name)
            target = await here.revoke("rev_1")
            here.servers.stale = {"heads"}
            waiting = await here.begun(target)
            here.acknowledgements.record(Ack(ONE, 1, here.old.tables.end))
            await asyncio.sleep(WAIT_S / 2)
            assert not waiting.done()
            assert _outcomes(await waiting) == {ONE: "lapsed"}

    virtual_time.run(story())


def test_an_acknowledgement_of_a_later_event_of_the_same_chain_counts() -> None:
    async def story() -> None:
        async with split() as here:
            target = await here.revoke("rev_1")
            waiting = await here.begun(target)
            await here.revoke("rev_2")
            end = here.cluster.tables.end
            here.acknowledgements.record(Ack(ONE, 1, Position(end.epoch, end.seq, end.head)))
            await asyncio.sleep(WAIT_S / 2)
            assert _outcomes(await waiting) == {ONE: "acknowledged"}

    virtual_time.run(story())


def test_rows_that_are_unchanged_only_on_an_old_primary_have_not_lapsed() -> None:
    async def story() -> None:
        async with split() as here:
            here.old.tables.leases[ONE] = here.cluster.tables.leases[ONE]
            await here.revoke("rev_0")
            await asyncio.sleep(1.1)  # the watch has seen the new primary
            here.servers.stale = {"waiting"}
            for number in range(2, 5):
                row = here.cluster.tables.leases[ONE]
                here.cluster.tables.leases[ONE] = replace(row, counter=number, version=number)
                await asyncio.sleep(1.1)
            here.servers.stale = set()
            waiting = await here.begun(await here.revoke("rev_1"))
            await asyncio.sleep(WAIT_S - 0.1)
            assert not waiting.done()
            await waiting

    virtual_time.run(story())


def test_a_sidecar_that_died_is_silent_though_an_old_primary_shows_another_version_of_its_row() -> (
    None
):
    async def story() -> None:
        async with split() as here:
            here.old.tables.leases[ONE] = Row("search", "strict", 7, 7, epoch=1)
            await here.revoke("rev_0")
            here.servers.alternates = True
            await asyncio.sleep(4 * WAIT_S)
            assert here.enforcer.silent == 1

    virtual_time.run(story())
