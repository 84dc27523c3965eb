"""What a writer in Postgres can do to tokens: nothing but make them end."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from tests.support.authority import Running, Sidecar

from rescind.core.token_format import digest
from rescind_authority.postgres.integrity.row_macs import COLUMNS

pytestmark = pytest.mark.asyncio(loop_scope="module")

_OTHER = {
    "text": "'admin:other'",
    "text[]": "'{*}'",
    "bytea": "sha256('other')",
    "bigint": "999999",
    "smallint": "9",
    "integer": "9",
    "boolean": "NOT {0}",
    "jsonb": """'{"x": "y"}'""",
    "inet": "'192.0.2.99'",
    "timestamp with time zone": "coalesce({0}, issued_at) + interval '1 minute'",
}
"""For each type of a column, another value that it may have."""

_SPECIAL = {
    "kind": "'admin'",
    "lineage": "'{tok_x}', chain = '{agent:x}'",
    "chain": "'{agent:x}', lineage = '{tok_x}'",
    "expires_at": "expires_at + interval '1 minute'",
    "addresses": "'{}'",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sidecar(shared: Running) -> AsyncIterator[Sidecar]:
    async with shared.system.sidecar() as sidecar:
        yield sidecar


async def _issued(running: Running, **facts: object) -> dict[str, Any]:
    asked: dict[str, Any] = {
        "subject": "agent:a",
        "scopes": ["search:read"],
        "ttl": 3_600,
        **facts,
    }
    return await running.issue(**asked)


async def _accepted(sidecar: Sidecar, token: str) -> bool:
    """Return True if a record of a token is signed that nothing ends."""
    _, record = await sidecar.resolve(token)
    return record is not None and not record.restrictions


async def _columns(running: Running, table: str) -> dict[str, str]:
    found = await running.system.tamper(
        "SELECT column_name, data_type, udt_name FROM information_schema.columns "
        "WHERE table_name = $1",
        table,
    )
    return {
        row["column_name"]: "text[]" if row["udt_name"] == "_text" else row["data_type"]
        for row in found
    }


async def test_every_column_of_a_token_is_covered_by_the_mac_or_listed_as_an_exception(
    shared: Running,
) -> None:
    columns = set(await _columns(shared, "tokens"))
    free = {"expires_at", "last_used_at", "used_by", "ending", "ending_reason", "mac"}
    assert columns == {*COLUMNS["tokens"], *free}
    secrets = set(await _columns(shared, "retired_secrets"))
    assert secrets == {*COLUMNS["retired_secrets"], "mac"}


@pytest.mark.parametrize("column", [*COLUMNS["tokens"], "expires_at", "mac"])
async def test_a_token_with_another_column_is_denied(
    shared: Running, sidecar: Sidecar, column: str
) -> None:
    token = await _issued(shared, user_agent="x", address="192.0.2.7", addresses=["192.0.2.0/24"])
    beside = await _issued(shared)
    assert await _accepted(sidecar, token["token"])
    kind = (await _columns(shared, "tokens"))[column]
    other = _SPECIAL.get(column, _OTHER[kind]).replace("{0}", column)
    if column == "token_id":
        other = "'tok_other' || substr(token_id, 10)"
    await shared.system.tamper(
        f"UPDATE tokens SET {column} = {other} WHERE token_id = $1",  # noqa: S608 - ours alone
        token["token_id"],
    )
    assert not await _accepted(sidecar, token["token"])
    assert await _accepted(sidecar, beside["token"])


async def test_a_token_without_a_mac_is_denied_at_every_interface(
    shared: Running, sidecar: Sidecar
) -> None:
    admin = await _issued(
        shared, subject="admin:a", kind="admin", scopes=["rescind:read"], audience=["rescind"]
    )
    session = await _issued(shared, subject="user:a", kind="session", scopes=[])
    for token in (admin, session):
        await shared.system.tamper(
            "UPDATE tokens SET mac = NULL WHERE token_id = $1", token["token_id"]
        )
    async with shared.as_bearer(admin["token"]) as http:
        assert (await http.get("/v1/fleet")).status_code == 401
    async with shared.as_bearer(session["token"]) as http:
        portion = {"subject": "user:a/b", "scopes": []}
        assert (await http.post("/v1/delegations", json=portion)).status_code == 401
        assert (await http.post("/v1/rotations", json={})).status_code == 401
        assert (await http.get("/v1/sessions")).status_code == 401
    rotated = await shared.http.post(f"/v1/tokens/{session['token_id']}/rotate", json={})
    assert rotated.status_code == 404
    assert not await _accepted(sidecar, session["token"])


async def test_a_copied_row_is_not_a_valid_token(shared: Running, sidecar: Sidecar) -> None:
    token = await _issued(shared, scopes=["search:read", "tools:*"])
    forged = token["token"][:-6] + "000000"
    names = ", ".join(set(await _columns(shared, "tokens")) - {"token_id", "token_hash"})
    await shared.system.tamper(
        f"INSERT INTO tokens (token_id, token_hash, {names}) "  # noqa: S608 - ours alone
        f"SELECT 'tok_copy', $2, {names} FROM tokens WHERE token_id = $1",
        token["token_id"],
        digest(forged),
    )
    assert not await _accepted(sidecar, forged)
    assert await _accepted(sidecar, token["token"])


async def test_swapping_the_macs_of_two_tokens_denies_both(
    shared: Running, sidecar: Sidecar
) -> None:
    one, two = await _issued(shared), await _issued(shared)
    await shared.system.tamper(
        "UPDATE tokens AS t SET mac = o.mac FROM tokens AS o "
        "WHERE t.token_id = ANY ($1) AND o.token_id = ANY ($1) AND o.token_id <> t.token_id",
        [one["token_id"], two["token_id"]],
    )
    assert not await _accepted(sidecar, one["token"])
    assert not await _accepted(sidecar, two["token"])


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM tokens WHERE token_id = $1",
        "UPDATE tokens SET mac = NULL WHERE token_id = $1",
        "UPDATE tokens SET expires_at = granted_until + interval '1 h' WHERE token_id = $1",
    ],
)
async def test_a_child_is_denied_when_the_row_of_its_parent_is_changed(
    shared: Running, sidecar: Sidecar, change: str
) -> None:
    parent = await _issued(shared, kind="agent")
    async with shared.as_bearer(parent["token"]) as http:
        answer = await http.post("/v1/delegations", json={"subject": "agent:a/b", "scopes": []})
    child = answer.json()
    assert await _accepted(sidecar, child["token"])
    await shared.system.tamper(change, parent["token_id"])
    assert not await _accepted(sidecar, child["token"])


async def test_the_mac_covers_rotated_secrets_too(shared: Running, sidecar: Sidecar) -> None:
    token = await _issued(shared)
    rotated = await shared.http.post(
        f"/v1/tokens/{token['token_id']}/rotate", json={"overlap": 600}
    )
    assert rotated.status_code == 200
    assert await _accepted(sidecar, token["token"])
    assert await _accepted(sidecar, rotated.json()["token"])
    await shared.system.tamper(
        "UPDATE retired_secrets SET good_until = good_until + interval '1 minute' "
        "WHERE token_id = $1",
        token["token_id"],
    )
    assert not await _accepted(sidecar, token["token"])
    assert await _accepted(sidecar, rotated.json()["token"])


async def test_an_end_and_a_rotation_leave_rows_with_valid_macs(
    shared: Running, sidecar: Sidecar
) -> None:
    token = await _issued(shared)
    path = f"/v1/tokens/{token['token_id']}"
    first = (await shared.http.post(f"{path}/rotate", json={})).json()
    second = (await shared.http.post(f"{path}/rotate", json={"overlap": 60})).json()
    assert await _accepted(sidecar, first["token"])
    assert await _accepted(sidecar, second["token"])
    refused = await shared.metric("rescind_authority_rows_refused_total")
    assert (await shared.http.post(f"{path}/expire", json={})).status_code == 200
    _, record = await sidecar.resolve(second["token"])
    assert record is not None
    assert [each.effect for each in record.restrictions] == ["ended"]
    assert await shared.metric("rescind_authority_rows_refused_total") == refused


async def test_each_look_up_of_a_refused_row_is_counted(shared: Running, sidecar: Sidecar) -> None:
    token = await _issued(shared)
    await shared.system.tamper(
        "UPDATE tokens SET scopes = '{*}' WHERE token_id = $1", token["token_id"]
    )
    before = await shared.metric("rescind_authority_rows_refused_total")
    for _ in range(3):
        assert not await _accepted(sidecar, token["token"])
    assert await shared.metric("rescind_authority_rows_refused_total") == before + 3


async def test_control_a_change_of_uncovered_columns_is_accepted(
    shared: Running, sidecar: Sidecar
) -> None:
    token = await _issued(shared)
    await shared.system.tamper(
        "UPDATE tokens SET last_used_at = now(), used_by = '{x}', ending_reason = 'idle', "
        "expires_at = expires_at - interval '1 minute' WHERE token_id = $1",
        token["token_id"],
    )
    assert await _accepted(sidecar, token["token"])
