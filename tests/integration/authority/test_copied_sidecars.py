"""Sidecars that were copied with their memory, as by CRIU, against real Postgres and NATS."""

import asyncio
import time

import pytest
from tests.support.authority import Sidecar, System, serving
from tests.support.copies import RULES, LeaseAuthority, Process
from tests.support.rows import guard

from rescind.core import lease
from rescind.core.ledger import Position
from rescind.wire import heartbeat, nats_subjects
from rescind.wire.heartbeat import NoLease, Reply
from rescind_authority.operator import bootstrap
from rescind_authority.postgres import pool
from rescind_authority.postgres.leases import PostgresLeases
from rescind_authority.postgres.ledger import PostgresLedger
from rescind_authority.postgres.receipts import PostgresReceipts
from rescind_authority.prometheus import PrometheusMetrics
from rescind_authority.usecases.leases.grant import Granter
from rescind_authority.usecases.ledger.recent_events import RecentEvents
from rescind_runtime.clock import SystemClock

TERM_S = 1.5


async def test_the_rules_for_copied_instances_hold_in_postgres(
    system: System, subtests: pytest.Subtests
) -> None:
    await bootstrap.prepare(system.settings)
    async with pool.connect(system.dsn) as postgres:
        ledger = PostgresLedger(postgres, guard(system.settings))
        granter = Granter(
            PostgresLeases(postgres, guard(system.settings)),
            recent=RecentEvents(ledger, clock=SystemClock()),
            clock=SystemClock(),
            metrics=PrometheusMetrics(),
        )
        async with asyncio.TaskGroup() as tasks:
            job = tasks.create_task(granter.run())
            for name, rule in RULES.items():
                await system.rows("DELETE FROM leases")
                with subtests.test(name):
                    await rule(LeaseAuthority(granter, PostgresReceipts(postgres)))
            job.cancel()


async def test_a_heartbeat_counted_by_an_older_authority_does_not_end_the_instance(
    system: System,
) -> None:
    """While authorities are upgraded one by one: it writes the counter and not the nonce."""
    async with serving(system), system.sidecar() as wire:
        process = Process(instance=wire.instance)
        assert isinstance(await beat(wire, process), Reply)
        for _ in range(9):  # answered by the older one
            process.heartbeat()
            assert process.latest is not None
            process.attempts.answered(process.latest)
        older = "UPDATE leases SET counter = $1, row_version = $1"
        await system.rows(older, process.numbers.last)
        assert isinstance(await beat(wire, process), Reply)
        assert isinstance(await beat(wire, process), Reply)


async def beat(wire: Sidecar, process: Process) -> Reply | NoLease | None:
    content = await wire.converse(nats_subjects.HEARTBEAT, heartbeat.encode(process.heartbeat()))
    if not content:
        return None
    answer = heartbeat.decode_answer(content)
    if isinstance(answer, Reply):
        assert process.latest is not None
        process.attempts.answered(process.latest)
        process.applied = answer.position
    return answer


async def test_no_receipt_counts_a_copy_as_the_original_and_both_must_start_new_instances(
    system: System,
) -> None:
    system = system.but(term=TERM_S)
    async with serving(system) as authority, system.sidecar() as wire:
        one = Process(instance=wire.instance)
        assert isinstance(await beat(wire, one), Reply)
        two = one.copied()
        # The lease that both knew when the copy was made has ended by now, and one has another.
        assert isinstance(await beat(wire, one), Reply)

        began = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            body = {"selector": ["tenant:t"], "wait": True}
            revoking = tasks.create_task(authority.http.post("/v1/revocations", json=body))
            head = await _head(system, seq=1)
            # The copy has applied it and says so; the other one, which has the lease, has not.
            two.applied = head
            acknowledgement = wire.spoken(heartbeat.encode_ack(two.ack()))
            while not revoking.done():
                await wire.nats.publish(nats_subjects.ACK, acknowledgement)
                await asyncio.sleep(0.05)
        receipt = revoking.result().json()["receipt"]
        assert [each["outcome"] for each in receipt["verifiers"]] == ["lapsed"]
        assert time.monotonic() - began >= lease.wait_ns(round(TERM_S * 1000)) / 1e9 - 0.1

        # What the copy says over HTTP or NATS ends the id; neither of the two has a lease again.
        for process in (two, one, two):
            answer = await beat(wire, process)
            assert isinstance(answer, NoLease)
            assert answer.over
        (row,) = await system.rows("SELECT shared_at, released_at FROM leases")
        assert row["shared_at"] is not None
        assert row["released_at"] is None


async def _head(system: System, *, seq: int) -> Position:
    while True:
        found = await system.rows("SELECT epoch, head FROM events WHERE seq = $1", seq)
        if found:
            return Position(found[0]["epoch"], seq, found[0]["head"])
        await asyncio.sleep(0.01)
