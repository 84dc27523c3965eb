"""The port Audit, which only Postgres implements. It has no reader: the tests read the table."""

import json
import secrets
from typing import Any

import pytest
from tests.contracts.store import PostgresStore
from tests.support.authority import System

from rescind_authority.ports.audit import RefusedCall


@pytest.fixture
def call() -> str:
    """Return an operation that no other test names."""
    return f"GET /v1/{secrets.token_hex(8)}"


async def entries(system: System, call: str) -> list[dict[str, Any]]:
    """Read the entries of an operation, in the order in which they were stored."""
    found = await system.rows(
        "SELECT at, actor, action, target, seq, detail FROM audit "
        "WHERE target = $1 ORDER BY audit_id",
        call,
    )
    return [dict(row) | {"detail": json.loads(row["detail"])} for row in found]


async def test_a_refused_call_has_one_entry(
    postgres_store: PostgresStore, prepared: System, call: str
) -> None:
    await postgres_store.audit.refused(
        [RefusedCall("admin:ada tok_1", call, 403, "insufficient_scope", "192.0.2.1", 0)]
    )
    (entry,) = await entries(prepared, call)
    assert entry == {
        "at": entry["at"],
        "actor": "admin:ada tok_1",
        "action": "refused",
        "target": call,
        "seq": None,
        "detail": {"status": 403, "reason": "insufficient_scope", "source": "192.0.2.1"},
    }


async def test_a_caller_without_a_token_is_named_unknown(
    postgres_store: PostgresStore, prepared: System, call: str
) -> None:
    await postgres_store.audit.refused([RefusedCall(None, call, 401, "no token", None, 0)])
    (entry,) = await entries(prepared, call)
    assert entry["actor"] == "unknown"
    assert entry["detail"] == {"status": 401, "reason": "no token"}


async def test_an_entry_counts_the_calls_without_an_entry(
    postgres_store: PostgresStore, prepared: System, call: str
) -> None:
    await postgres_store.audit.refused([RefusedCall(None, call, 401, "no token", None, 7)])
    (entry,) = await entries(prepared, call)
    assert entry["detail"]["withheld"] == 7


async def test_refused_calls_are_stored_in_their_order(
    postgres_store: PostgresStore, prepared: System, call: str
) -> None:
    await postgres_store.audit.refused(
        [RefusedCall(None, call, status, "", None, 0) for status in (401, 403, 404)]
    )
    found = await entries(prepared, call)
    assert [each["detail"]["status"] for each in found] == [401, 403, 404]


async def test_without_a_refused_call_no_entry_is_written(
    postgres_store: PostgresStore, prepared: System
) -> None:
    before = await prepared.rows("SELECT count(*) FROM audit")
    await postgres_store.audit.refused([])
    assert await prepared.rows("SELECT count(*) FROM audit") == before


async def test_quotes_and_control_characters_are_stored_as_they_are(
    postgres_store: PostgresStore, prepared: System, call: str
) -> None:
    why = 'a "quote", a \\ and a \n; DROP TABLE audit'
    await postgres_store.audit.refused([RefusedCall(why, call, 400, why, why, 0)])
    (entry,) = await entries(prepared, call)
    assert entry["actor"] == entry["detail"]["reason"] == entry["detail"]["source"] == why
