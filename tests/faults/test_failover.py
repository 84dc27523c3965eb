"""A failover on two real servers. The old primary lives on: its reads answer, its commits hang.

An authority that had connections to it keeps them, beside new ones to the new primary. So each of
its statements may reach either server, until it has seen the new one.
"""

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path
from unittest import mock

import asyncpg
import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs
from tests.integration.authority.test_sequencer import RecordingAnnouncer
from tests.support import outcomes, processes
from tests.support.eventually import eventually
from tests.support.failover import Pair
from tests.support.rows import guard_of

from rescind.core import lease
from rescind.core.handles import select
from rescind.core.revocation import Effect, Revocation
from rescind.errors import RescindError
from rescind.wire import receipts, signed_envelope
from rescind.wire.heartbeat import Heartbeat, Reply
from rescind_authority.errors import OldPrimaryError, StoreUnavailableError
from rescind_authority.ledger_index import LedgerIndex
from rescind_authority.operator import bootstrap
from rescind_authority.ports.ledger import CommittedEvent, IdempotentRequest, Key
from rescind_authority.postgres import pool
from rescind_authority.postgres.integrity.ledger_watch import LedgerWatch
from rescind_authority.postgres.leases import PostgresLeases
from rescind_authority.postgres.pool import Borrowed, Postgres, rows
from rescind_authority.prometheus import PrometheusMetrics
from rescind_authority.settings import AuthoritySettings
from rescind_authority.usecases.ledger.sequencer import LedgerCommand
from rescind_authority.wiring.core import Core
from rescind_runtime.clock import SystemClock
from rescind_runtime.crypto.signing import Keyring

TERM_S = 1.5
_WARM = 3
_LOOK_UPS = 10
_KEYS = Keyring.create(root=bytes(32), now_us=0)
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def failed_over(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Begin a ledger, then promote the standby. Both servers answer from then on."""
    directory = tmp_path_factory.mktemp("failover")
    command = ("-m", "tests.support.failover", str(directory / "servers"))
    (directory / "servers").mkdir()
    with processes.running(*command, environ=processes.clean_environment()) as run:
        pair = Pair(*(Path(str(run.ready[name])) for name in ("old", "new", "address")))
        settings = AuthoritySettings(data=directory, postgres_dsn=SecretStr(pair.dsn), term=TERM_S)
        asyncio.run(bootstrap.prepare(settings))
        asyncio.run(pair.fail_over())
        yield pair


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut commits that hang, early."""
    monkeypatch.setattr(pool, "_COMMIT_S", 0.3)


@asynccontextmanager
async def stopped_authority(
    dsn: str, *, index: LedgerIndex | None = None
) -> AsyncIterator[tuple[Postgres, Core]]:
    """Build the use cases of one authority, without HTTP and NATS. Nothing runs."""
    heard = RecordingAnnouncer()
    async with pool.connect(dsn) as postgres:
        yield (
            postgres,
            Core(
                postgres,
                announcer=heard,
                caller=heard,
                keys=_KEYS,
                metrics=PrometheusMetrics(),
                index=index,
            ),
        )


@asynccontextmanager
async def running(parts: Core) -> AsyncIterator[None]:
    """Run the background work of an authority."""
    async with asyncio.TaskGroup() as tasks:
        job = tasks.create_task(parts.run())
        yield
        job.cancel()


@asynccontextmanager
async def authority(
    dsn: str, *, index: LedgerIndex | None = None
) -> AsyncIterator[tuple[Postgres, Core]]:
    """Run the use cases of one authority, without HTTP and NATS."""
    async with stopped_authority(dsn, index=index) as (postgres, parts), running(parts):
        yield postgres, parts


@contextmanager
def from_before(pair: Pair) -> Iterator[None]:
    """Let connections be made as they were before the failover, and then move the address."""

    async def confirmed(_connection: object) -> None:
        """Return at once, as commits ended then."""

    pair.move_to(pair.old)
    with mock.patch.object(pool, "_confirm_commits", confirmed):
        yield
    pair.move_to(pair.new)


@asynccontextmanager
async def surviving(pair: Pair) -> AsyncIterator[tuple[Postgres, Core]]:
    """Run an authority that has connections to the old primary, as its address has just moved.

    It is asked for tokens meanwhile, so that connections to both servers are in use.
    """
    async with idle_survivor(pair) as (postgres, parts), asyncio.TaskGroup() as tasks:
        jobs = [tasks.create_task(_look_up(parts)) for _ in range(_LOOK_UPS)]
        yield postgres, parts
        for job in jobs:
            job.cancel()


@asynccontextmanager
async def idle_survivor(
    pair: Pair, *, index: LedgerIndex | None = None
) -> AsyncIterator[tuple[Postgres, Core]]:
    """Run an authority all of whose connections lead to the old primary.

    Its background work begins once the address leads to the new one. Before, a new connection
    would lead to the old primary too, and the older end would rightly be reported.
    """
    async with AsyncExitStack() as block:
        with from_before(pair):
            postgres, parts = await block.enter_async_context(
                stopped_authority(pair.dsn, index=index)
            )
            async with AsyncExitStack() as borrowed:
                for _ in range(_WARM):
                    await borrowed.enter_async_context(postgres.connection())
        await block.enter_async_context(running(parts))
        yield postgres, parts


async def _look_up(parts: Core) -> None:
    while True:
        with suppress(RescindError):
            await parts.records.by_hash([secrets.token_bytes(32)])
        await asyncio.sleep(0)


def command() -> LedgerCommand:
    name = f"rev_{next(_numbers):026}"
    revocation = Revocation(name, select(["tenant:t"]), Effect.REVOKE, "", "admin:a")
    return LedgerCommand(
        IdempotentRequest(Key("admin:a", name), bytes(32)), revocation, exact=False
    )


async def committed(parts: Core) -> CommittedEvent:
    done = await parts.sequencer.commit(command())
    return CommittedEvent(done.revocation_id, done.epoch, done.seq, done.at_us)


async def beat(parts: Core, instance: bytes, counter: int) -> Reply | None:
    """Beat once; None where there is no lease, whatever the reason."""
    message = Heartbeat(
        instance, secrets.token_bytes(16), counter, None, "search", "host", "0.1.0", "strict"
    )
    try:
        answer = await parts.granter.answer(message)
    except RescindError:
        return None
    return answer if isinstance(answer, Reply) else None


async def test_no_lease_is_granted_below_the_position_of_a_signed_receipt(
    failed_over: Pair,
) -> None:
    counters = itertools.count(1)
    instance = secrets.token_bytes(16)
    replies: list[Reply] = []
    async with authority(failed_over.new_dsn) as (_, other), surviving(failed_over) as (_, parts):
        target = await committed(other)
        assert isinstance(await other.enforcer.receipt(target, timeout_s=10), bytes)

        async def granted() -> Sequence[Reply]:
            reply = await beat(parts, instance, next(counters))
            replies.extend([] if reply is None else [reply])
            return replies

        def enough(seen: Sequence[Reply]) -> bool:
            outcomes.raise_if_unsafe(
                [
                    f"a lease at {reply.position.seq} after the receipt of {target.seq}"
                    for reply in seen
                    if reply.position.seq < target.seq
                ]
            )
            return len(seen) >= 12

        await eventually(granted, until=enough)


async def test_no_receipt_is_signed_while_a_lease_below_its_position_is_valid(
    failed_over: Pair,
) -> None:
    """And nothing is called lost that the new primary holds."""
    clock, instance = SystemClock(), secrets.token_bytes(16)
    async with authority(failed_over.new_dsn) as (_, other), surviving(failed_over) as (_, parts):
        sent_ns = clock.monotonic_raw_ns()
        reply = await beat(other, instance, 1)
        assert reply is not None
        target = await committed(other)
        assert reply.position.seq < target.seq
        envelope = await parts.enforcer.receipt(target, timeout_s=20)
        ended_ns = clock.monotonic_raw_ns()
    assert isinstance(envelope, bytes)
    granted = lease.grant(reply.position, sent_ns=sent_ns, grant_term_ms=reply.grant_term_ms)
    outcomes.raise_if_unsafe(
        ["the receipt came while an ignorant lease held"] if ended_ns < granted.ends_ns else []
    )
    receipt = receipts.decode(signed_envelope.decode(envelope).content)
    assert "lapsed" in {each.outcome for each in receipt.verifiers if each.instance == instance}


async def test_an_old_primary_is_not_mistaken_for_an_older_ledger(
    failed_over: Pair, tmp_path: Path
) -> None:
    """Two authorities of one host share an index; one of them still asks the old primary."""
    shared, counters = tmp_path / "ledger-index", itertools.count(1)
    instance = secrets.token_bytes(16)
    with closing(LedgerIndex(shared)) as one, closing(LedgerIndex(shared)) as two:
        async with pool.connect(failed_over.new_dsn) as postgres:
            await LedgerWatch(one, _KEYS, postgres.rows, reconnect=postgres.reconnect).rebuild()
        async with authority(failed_over.new_dsn, index=one) as (_, other):
            target = await committed(other)

            async def seen() -> bool:
                return other.watch.seq >= target.seq

            await eventually(seen)
            async with idle_survivor(failed_over, index=two) as (_, parts):
                with capture_logs() as log:
                    await eventually(lambda: beat(parts, instance, next(counters)))
    assert "ledger.forged" not in [line["action"] for line in log]


async def test_after_the_new_primary_was_seen_no_connection_to_the_old_one_is_used_or_opened(
    failed_over: Pair,
) -> None:
    async with pool.connect(failed_over.dsn) as postgres:
        with from_before(failed_over):
            async with AsyncExitStack() as block:
                before = [await block.enter_async_context(postgres.connection()) for _ in range(3)]
                old = {await _started(each) for each in before}
        async with AsyncExitStack() as block:
            held = [await block.enter_async_context(postgres.connection()) for _ in range(3)]
            with capture_logs() as log:
                new = await _started(await block.enter_async_context(postgres.connection()))
                for connection in held:  # an answer that comes only now
                    with pytest.raises(OldPrimaryError):
                        postgres.reject_old_primary(connection)
            said = [line["action"] for line in log]
            assert said == ["postgres.moved", "postgres.old_primary"]  # of many, one line
        async with AsyncExitStack() as block:
            after = [await block.enter_async_context(postgres.connection()) for _ in range(12)]
            assert {await _started(each) for each in after} == {new}
            assert old != {new}
            for connection in after:
                await connection.close()
        failed_over.move_to(failed_over.old)
        for _ in range(3):
            with pytest.raises(OldPrimaryError, match="timeline 1, and timeline 2 was seen"):
                await postgres.rows("get_term")
        failed_over.move_to(failed_over.new)
        assert await postgres.rows("get_term")


async def test_a_server_whose_commits_hang_gets_no_new_connection(
    failed_over: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also for an authority that never saw the new primary, and has no timeline to compare."""
    monkeypatch.setattr(pool, "_CONFIRM_S", 0.3)
    async with pool.connect(failed_over.old_dsn) as postgres:
        with pytest.raises(StoreUnavailableError, match="commits do not end"):
            await postgres.rows("get_term")
    async with pool.connect(failed_over.new_dsn) as postgres:
        assert await postgres.rows("get_term")


async def test_a_lease_is_read_only_from_the_server_that_committed_its_row(
    failed_over: Pair,
) -> None:
    """As a pooler may lead to, which gives each transaction another server."""
    beats = [Heartbeat(bytes(16), bytes(16), 1, None, "search", "host", "0.1.0", "strict")]
    old = await asyncpg.connect(failed_over.old_dsn)

    class Pooled(PostgresLeases):
        async def _read_end(self, connection: Borrowed) -> Sequence[asyncpg.Record]:
            del connection
            return await rows(old, "ledger_tip")  # type: ignore[arg-type]  # no pool is needed to read

    try:
        async with pool.connect(failed_over.new_dsn) as postgres:
            with pytest.raises(StoreUnavailableError, match="pooler"):
                await Pooled(postgres, guard_of(_KEYS)).beat(beats)
    finally:
        await old.close()


async def _started(connection: Borrowed) -> object:
    """Return when the server was started, which tells one from the other."""
    return await connection.fetchval("SELECT pg_postmaster_start_time()")
