"""A commit whose wait for the standby is cancelled may be lost, so no writer may report it done."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from functools import partial
from importlib.resources import files
from pathlib import Path

import pytest
from tests.support import standby
from tests.support.authority import System
from tests.support.eventually import eventually
from tests.support.rows import guard_of

import rescind_authority
from rescind.wire.heartbeat import Heartbeat, Release
from rescind_authority.errors import CommitUnknownError
from rescind_authority.operator import bootstrap
from rescind_authority.postgres import pool, queries
from rescind_authority.postgres.lease_term import PostgresTerms
from rescind_authority.postgres.leases import PostgresLeases
from rescind_authority.postgres.pool import Postgres
from rescind_authority.postgres.receipts import PostgresReceipts
from rescind_authority.postgres.revoked_marks import PostgresSweeps
from rescind_runtime.crypto.signing import Keyring

_INSTANCE = bytes(16)
_GUARD = guard_of(Keyring.create(root=bytes(32), now_us=0))
_REVOKED = """
WITH event AS (
    INSERT INTO events (seq, epoch, payload, head) VALUES (1, 1, '\\x00', sha256('\\x00'))
)
INSERT INTO revocations (
    revocation_id, epoch, seq, effect, selector, anchor, exact, reason, actor, committed_at
)
VALUES ('rev_1', 1, 1, 'revoke', '{tenant:t}', 'tenant:t', false, '', 'ada', now())
"""

Write = Callable[[Postgres], Awaitable[object]]


def _beat() -> Heartbeat:
    return Heartbeat(_INSTANCE, bytes(16), 2, None, "search", "host", "0.1.0", "strict")


WRITES: dict[str, Write] = {
    "beat": lambda postgres: PostgresLeases(postgres, _GUARD).beat([_beat()]),
    "release": lambda postgres: PostgresLeases(postgres, _GUARD).release([Release(_INSTANCE, 3)]),
    "keep_receipt": lambda postgres: PostgresReceipts(postgres).keep(
        "rev_1", enforced_at_us=1, envelope=b"envelope"
    ),
    "get_receipt": lambda postgres: PostgresReceipts(postgres).get("rev_1"),
    "delete_ended_leases": lambda postgres: PostgresReceipts(postgres).delete_ended({_INSTANCE: 3}),
    "set_target_term": lambda postgres: PostgresTerms(postgres).set_target(5_000, actor="ada"),
    "move_term": lambda postgres: PostgresTerms(postgres).move(1, grant_ms=5_000, wait_ms=10_000),
    "forget_keys": lambda postgres: PostgresSweeps(postgres).forget_keys(
        older_than_s=0, but=(), most=1
    ),
}


async def test_no_writer_reports_a_commit_whose_wait_for_the_standby_was_cancelled(
    system: System,
) -> None:
    await bootstrap.prepare(system.settings)
    await system.rows(_REVOKED)
    await system.rows(
        "INSERT INTO idempotency (actor, key, body_hash, claimed_at) "
        "VALUES ('ada', 'k', sha256(''), now() - interval '1 hour')"
    )
    async with pool.connect(system.dsn) as postgres:
        await standby.fill_pool(postgres)  # each writer loses one
        async with standby.awaited(system):
            for name, write in WRITES.items():
                async with asyncio.TaskGroup() as tasks:
                    outcome = tasks.create_task(_unknown(write, postgres))
                    await eventually(partial(_cancel, system, outcome))
                assert outcome.result(), name


async def _unknown(write: Write, postgres: Postgres) -> bool:
    try:
        await write(postgres)
    except CommitUnknownError:
        return True
    return False


async def _cancel(system: System, outcome: "asyncio.Task[bool]") -> bool:
    """Cancel the commit that waits for a standby; true once the writer has an outcome."""
    await standby.cancel_wait(system)
    return outcome.done()


_CALL = re.compile(r'_postgres\.rows\(\s*"(\w+)"')
_WRITES = re.compile(r"\b(INSERT|UPDATE|DELETE)\b")


def test_a_writing_statement_is_never_run_as_a_read_only_query() -> None:
    """`Postgres.rows` commits without a look at how the commit ended."""
    package = Path(str(files(rescind_authority)))
    called = {
        name
        for path in (package / "postgres").glob("*.py")
        for name in _CALL.findall(path.read_text(encoding="utf-8"))
    }
    assert len(called) > 20
    statements = {
        name: "\n".join(
            line for line in queries.read(name).splitlines() if not line.startswith("--")
        )
        for name in called
    }
    assert {name for name, sql in statements.items() if _WRITES.search(sql)} == set()


@pytest.mark.parametrize("query", ["beat", "release", "keep_receipt", "move_term"])
def test_a_query_that_writes_is_recognised(query: str) -> None:
    assert _WRITES.search(queries.read(query))
