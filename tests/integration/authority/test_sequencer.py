"""The sequencer against real Postgres: dense, chained, once for each key, and honest."""

import asyncio
import dataclasses
import hashlib
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from tests.support import rows, standby
from tests.support.authority import System, serving
from tests.support.eventually import eventually

from rescind.core import ledger
from rescind.core.handles import select
from rescind.core.revocation import Effect, Revocation
from rescind.wire import events
from rescind.wire.events import Batch
from rescind.wire.heartbeat import AckRequest
from rescind_authority.errors import (
    CommitUnknownError,
    KeyReusedError,
    LostError,
    StoreRefusedError,
    StoreUnavailableError,
)
from rescind_authority.operator import bootstrap
from rescind_authority.ports.ledger import CommittedEvent, IdempotentRequest, Key
from rescind_authority.postgres import pool
from rescind_authority.postgres.pool import Postgres
from rescind_authority.prometheus import PrometheusMetrics
from rescind_authority.usecases.ledger.sequencer import LedgerCommand
from rescind_authority.wiring.core import Core

_numbers = itertools.count()


class RecordingAnnouncer:
    """An announcer that remembers."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []

    def announce(self, batch: Batch) -> None:
        """Remember a batch."""
        self.batches.append(batch)

    def call(self, wanted: AckRequest) -> None:
        """Ignore that a caller waits."""


class ProcessCrash(BaseException):
    """The process dies here."""


class CrashingAnnouncer:
    """An announcer in a process that dies between commit and publish."""

    def announce(self, batch: Batch) -> None:
        """Die."""
        raise ProcessCrash

    def call(self, wanted: AckRequest) -> None:
        """Ignore that a caller waits."""


@asynccontextmanager
async def running_core(
    system: System, announcer: RecordingAnnouncer | CrashingAnnouncer
) -> AsyncIterator[Core]:
    """Run the use cases of one authority, without HTTP and NATS."""
    async with (
        pool.connect(system.dsn) as postgres,
        run_core_on(postgres, announcer, system) as parts,
    ):
        yield parts


@asynccontextmanager
async def run_core_on(
    postgres: Postgres, announcer: RecordingAnnouncer | CrashingAnnouncer, system: System
) -> AsyncIterator[Core]:
    """Run the use cases of one authority on a pool."""
    keys = rows.keys(system.settings)
    parts = Core(
        postgres, announcer=announcer, caller=announcer, keys=keys, metrics=PrometheusMetrics()
    )
    async with asyncio.TaskGroup() as tasks:
        job = tasks.create_task(parts.run())
        yield parts
        job.cancel()


def command(
    selector: str = "tenant:t", *, key: str | None = None, actor: str = "admin:a", reason: str = ""
) -> LedgerCommand:
    """Make a command; its body is its selector."""
    name = f"rev_{next(_numbers):026}"
    revocation = Revocation(name, select([selector]), Effect.REVOKE, reason, actor)
    idempotency = IdempotentRequest(
        Key(actor, key or name), hashlib.sha256(selector.encode()).digest()
    )
    return LedgerCommand(idempotency, revocation, exact=False)


async def test_the_ledger_is_dense_and_chained_under_many_writers_and_two_authorities(
    system: System,
) -> None:
    await bootstrap.prepare(system.settings)
    heard = RecordingAnnouncer()
    async with running_core(system, heard) as one, running_core(system, heard) as two:

        async def write(parts: Core, number: int) -> list[CommittedEvent]:
            return [
                await parts.sequencer.commit(command(f"tenant:{number}-{turn}"))
                for turn in range(20)
            ]

        async with asyncio.TaskGroup() as tasks:
            writers = [
                tasks.create_task(write(parts, number))
                for number in range(16)
                for parts in (one, two)
            ]
    done = [committed for writer in writers for committed in writer.result()]
    assert sorted(each.seq for each in done) == list(range(1, 641))
    for writer in writers:
        seqs = [each.seq for each in writer.result()]
        assert seqs == sorted(seqs)  # what a caller sends later comes later
    await _verify(system, heard.batches, 640)


async def _verify(system: System, batches: Sequence[Batch], last: int) -> None:
    """Recompute the chain over what is stored, and compare the announcements with it."""
    stored = await system.rows("SELECT seq, payload, head FROM events ORDER BY seq")
    position = ledger.genesis(1)
    heads = [position.head]
    for row in stored:
        event = events.decode(row["payload"])
        position = position.after(row["payload"])
        assert (event.seq, event.epoch) == (row["seq"], 1)
        assert (position.seq, position.head) == (row["seq"], row["head"])
        heads.append(position.head)
    head = (await system.rows("SELECT seq, head FROM ledger_head"))[0]
    assert (head["seq"], head["head"]) == (last, position.head)
    facts = await system.rows("SELECT seq FROM revocations ORDER BY seq")
    entries = await system.rows("SELECT seq FROM audit WHERE action = 'revoke' ORDER BY audit_id")
    assert [row["seq"] for row in facts] == list(range(1, last + 1))
    assert sorted(row["seq"] for row in entries) == list(range(1, last + 1))
    for batch in batches:
        after = batch.first_seq - 1 + len(batch.payloads)
        assert (batch.before, batch.after) == (heads[batch.first_seq - 1], heads[after])
    assert sum(len(batch.payloads) for batch in batches) == last


async def test_commands_queued_during_a_commit_share_one_batch(system: System) -> None:
    await bootstrap.prepare(system.settings)
    heard = RecordingAnnouncer()
    async with running_core(system, heard) as parts, asyncio.TaskGroup() as tasks:
        for _ in range(300):
            tasks.create_task(parts.sequencer.commit(command()))
    assert len(heard.batches) <= 4
    assert max(len(batch.payloads) for batch in heard.batches) <= 256


async def test_the_same_key_and_body_commit_once(system: System) -> None:
    await bootstrap.prepare(system.settings)
    heard = RecordingAnnouncer()
    async with running_core(system, heard) as one, running_core(system, heard) as two:
        async with asyncio.TaskGroup() as tasks:
            repeats = [
                tasks.create_task(parts.sequencer.commit(command(key="k")))
                for parts in (one, two) * 8
            ]
        assert len({repeat.result() for repeat in repeats}) == 1
        assert repeats[0].result().seq == 1
        assert len(await system.rows("SELECT FROM events")) == 1
        assert await two.sequencer.commit(command(key="k")) == repeats[0].result()


async def test_the_same_key_with_another_body_is_refused(system: System) -> None:
    await bootstrap.prepare(system.settings)
    async with running_core(system, RecordingAnnouncer()) as parts:
        await parts.sequencer.commit(command("tenant:t", key="k"))
        with pytest.raises(KeyReusedError):
            await parts.sequencer.commit(command("tenant:u", key="k"))
        async with asyncio.TaskGroup() as tasks:  # in one batch too
            first = tasks.create_task(parts.sequencer.commit(command("tenant:v", key="l")))
            other = tasks.create_task(_refused(parts, command("tenant:w", key="l")))
        assert (first.result().seq, other.result()) == (2, True)
    assert len(await system.rows("SELECT FROM events")) == 2


async def _refused(parts: Core, wanted: LedgerCommand) -> bool:
    with pytest.raises(KeyReusedError):
        await parts.sequencer.commit(wanted)
    return True


async def test_a_key_belongs_to_its_actor(system: System) -> None:
    await bootstrap.prepare(system.settings)
    async with running_core(system, RecordingAnnouncer()) as parts:
        mine = await parts.sequencer.commit(command("tenant:t", key="k", actor="admin:a"))
        yours = await parts.sequencer.commit(command("tenant:u", key="k", actor="admin:b"))
        assert (mine.seq, yours.seq) == (1, 2)


async def test_every_command_commits_its_own_event_even_if_nothing_changes(
    system: System,
) -> None:
    await bootstrap.prepare(system.settings)
    async with running_core(system, RecordingAnnouncer()) as parts:
        seqs = [(await parts.sequencer.commit(command("tenant:t"))).seq for _ in range(3)]
        assert seqs == [1, 2, 3]


async def test_a_receipt_is_stored_only_for_an_event_in_the_ledger(system: System) -> None:
    await bootstrap.prepare(system.settings)
    async with running_core(system, RecordingAnnouncer()) as parts:
        done = await parts.sequencer.commit(command())
        target = CommittedEvent(done.revocation_id, done.epoch, done.seq, done.at_us)
        receipt = await parts.enforcer.receipt(target, timeout_s=10)
        assert isinstance(receipt, bytes)
        assert await parts.enforcer.receipts.get(done.revocation_id) == receipt
        lost = dataclasses.replace(target, revocation_id="rev_of_before_the_restore")
        # Not known here is not lost: that is said only once there is a later epoch without it.
        with pytest.raises(StoreUnavailableError):
            await parts.enforcer.receipt(lost, timeout_s=0.5)
        await bootstrap.new_epoch(system.settings, unknown_grace_ms=0)
        with pytest.raises(LostError):
            await parts.enforcer.receipt(lost, timeout_s=10)
        assert await parts.enforcer.receipts.get(lost.revocation_id) is None


async def test_a_command_that_postgres_refuses_does_not_fail_the_others(system: System) -> None:
    await bootstrap.prepare(system.settings)
    async with running_core(system, RecordingAnnouncer()) as parts, asyncio.TaskGroup() as tasks:
        good = [tasks.create_task(parts.sequencer.commit(command())) for _ in range(3)]
        bad = tasks.create_task(_postgres_refuses(parts))
        good += [tasks.create_task(parts.sequencer.commit(command())) for _ in range(3)]
    assert bad.result()
    assert sorted(task.result().seq for task in good) == [1, 2, 3, 4, 5, 6]


async def _postgres_refuses(parts: Core) -> bool:
    with pytest.raises(StoreRefusedError):
        await parts.sequencer.commit(command(reason="\0"))
    return True


async def test_a_crash_between_commit_and_publish_loses_nothing(system: System) -> None:
    await bootstrap.prepare(system.settings)
    with pytest.raises(BaseExceptionGroup) as crash:
        async with running_core(system, CrashingAnnouncer()) as parts:
            await parts.sequencer.commit(command("tenant:lost"))
    assert crash.group_contains(ProcessCrash)
    # Another authority answers the heartbeat, and brings the event that was never announced.
    async with serving(system, prepare=False), system.sidecar() as sidecar:
        sidecar.applied = ledger.genesis(1)
        reply = await eventually(sidecar.beat)
        assert reply is not None
        assert reply.position.seq == 1
        assert ledger.replay(sidecar.applied, reply.payloads) == reply.position
        assert str(events.decode(reply.payloads[0]).revocation.selector) == "tenant:lost"


async def test_a_connection_lost_during_commit_is_an_unknown_outcome_that_the_key_resolves(
    system: System,
) -> None:
    await bootstrap.prepare(system.settings)
    # COMMIT runs this trigger, so it stands still where we want it.
    await system.rows("CREATE TABLE gate (shut boolean)")
    await system.rows("INSERT INTO gate VALUES (true)")
    await system.rows(
        """CREATE FUNCTION wait_at_gate() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF (SELECT shut FROM gate) THEN PERFORM pg_sleep(60); END IF;
            RETURN NULL;
        END $$"""
    )
    await system.rows(
        """CREATE CONSTRAINT TRIGGER gate AFTER INSERT ON events
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait_at_gate()"""
    )
    async with running_core(system, RecordingAnnouncer()) as parts:
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(_outcome_unknown(parts))
            await eventually(lambda: _cut_at_gate(system))
        assert waiting.result()
        await system.rows("UPDATE gate SET shut = false")
        assert (await parts.sequencer.commit(command(key="k"))).seq == 1


async def test_a_cancelled_wait_for_a_standby_is_an_unknown_outcome(system: System) -> None:
    await bootstrap.prepare(system.settings)
    async with (
        pool.connect(system.dsn) as postgres,
        run_core_on(postgres, RecordingAnnouncer(), system) as parts,
    ):
        await standby.fill_pool(postgres)
        async with standby.awaited(system), asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(_outcome_unknown(parts))
            await eventually(lambda: standby.cancel_wait(system))
        assert waiting.result()
        # The repeat commits a record of its own, so its answer is durable where that one is.
        assert (await parts.sequencer.commit(command(key="k"))).seq == 1


async def _outcome_unknown(parts: Core) -> bool:
    with pytest.raises(CommitUnknownError, match="same Idempotency-Key"):
        await parts.sequencer.commit(command(key="k"))
    return True


async def _cut_at_gate(system: System) -> bool:
    """Cut the connection whose COMMIT stands at the gate, once there is one."""
    cut = await system.rows(
        """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND query = 'COMMIT' AND wait_event = 'PgSleep'"""
    )
    return bool(cut)


async def test_a_deadlock_is_retried(system: System) -> None:
    await bootstrap.prepare(system.settings)
    async with (
        running_core(system, RecordingAnnouncer()) as parts,
        pool.connect(system.dsn) as postgres,
        asyncio.TaskGroup() as tasks,
        postgres.transaction() as operator,
    ):
        # An operator takes the head first, and then a key: the wrong way round. The one who waits
        # longest finds the circle, and is made to give up: that is to be us.
        await operator.execute("SET LOCAL deadlock_timeout = '60s'")
        await operator.execute("SELECT FROM ledger_head FOR UPDATE")
        task = tasks.create_task(parts.sequencer.commit(command(key="k")))
        await eventually(lambda: _waits_for_the_head(system))
        await operator.execute(
            "INSERT INTO idempotency VALUES ('admin:a', 'k', $1, NULL, now())", bytes(32)
        )
        await operator.execute("DELETE FROM idempotency")
    assert task.result().seq == 1


async def _waits_for_the_head(system: System) -> bool:
    waiting = await system.rows(
        """SELECT FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'
        AND query LIKE '%ledger_head FOR UPDATE%'"""
    )
    return bool(waiting)


async def test_when_postgres_is_unavailable_nothing_changes_and_the_error_states_it(
    system: System,
) -> None:
    await bootstrap.prepare(system.settings)
    heard = RecordingAnnouncer()
    async with running_core(system, heard) as parts:
        await system.shut()
        with pytest.raises(StoreUnavailableError, match="Nothing was changed"):
            await parts.sequencer.commit(command(key="k"))
        await system.open()
        assert (await parts.sequencer.commit(command(key="k"))).seq == 1
    assert len(heard.batches) == 1


async def test_a_cancelled_caller_does_not_stop_the_commit(system: System) -> None:
    await bootstrap.prepare(system.settings)
    heard = RecordingAnnouncer()
    async with running_core(system, heard) as parts:
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(parts.sequencer.commit(command()))
            await asyncio.sleep(0)  # it has asked
            task.cancel()
        assert (await parts.sequencer.commit(command())).seq == 2
