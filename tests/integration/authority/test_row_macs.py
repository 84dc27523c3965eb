"""Rows from before they had MACs, keys for rows that rotate, and a keyring that is lost."""

import json

import pytest
from tests.support import rows
from tests.support.authority import Running, System, serving
from tests.support.eventually import eventually

from rescind_authority.errors import KeyFileError
from rescind_authority.operator import bootstrap, key_commands
from rescind_authority.operator.bootstrap import Replacing
from rescind_authority.postgres import pool
from rescind_authority.postgres.integrity import row_rewriter
from rescind_authority.postgres.integrity.row_rewriter import RowRewriter
from rescind_authority.wiring.authority import Authority
from rescind_runtime.crypto.signing import ROWS
from rescind_runtime.crypto.trust import KeyringError
from rescind_runtime.supervise import Stop


async def _as_before(system: System) -> None:
    """Take from a database and a keyring what this version added."""
    for table in ("tokens", "retired_secrets", "ledger_head"):
        await system.tamper(f"UPDATE {table} SET mac = NULL")  # noqa: S608 - ours alone
    await system.tamper("UPDATE tokens SET granted_until = NULL, changed_seq = NULL")
    found = json.loads(system.settings.keyring_path.read_text())
    del found["rows"], found["adopting_rows"]
    system.settings.keyring_path.write_text(json.dumps(found))


async def _live(running: Running, token: str) -> bool:
    async with running.system.sidecar() as sidecar:
        _, record = await sidecar.resolve(token)
    return record is not None and not record.restrictions


async def test_existing_rows_get_their_mac_before_an_authority_starts(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(system) as running:
        made = [await running.issue() for _ in range(7)]
        rotated = (
            await running.http.post(
                f"/v1/tokens/{made[0]['token_id']}/rotate", json={"overlap": 600}
            )
        ).json()
        ended = await running.http.post(f"/v1/tokens/{made[1]['token_id']}/expire", json={})
        assert ended.is_success
    await _as_before(system)
    with pytest.raises(KeyringError, match="rescind migrate"):
        await Authority(system.settings, announce=lambda **_: None).run(Stop())
    monkeypatch.setattr(row_rewriter, "BATCH", 2)
    await bootstrap.prepare(system.settings)
    assert not rows.keys(system.settings).adopting
    async with serving(system) as running:
        for token in (rotated, *made[2:]):
            assert await _live(running, token["token"])
        assert await _live(running, made[0]["token"])  # in its overlap
        assert not await _live(running, made[1]["token"])
        again = await running.http.post(f"/v1/tokens/{made[2]['token_id']}/rotate", json={})
        assert await _live(running, again.json()["token"])
        late = await running.issue()
        await system.tamper("UPDATE tokens SET mac = NULL WHERE token_id = $1", late["token_id"])
    await bootstrap.prepare(system.settings)  # a row without a MAC stays one
    async with serving(system) as running:
        assert not await _live(running, late["token"])


async def test_an_interrupted_run_is_resumed_and_no_authority_starts_meanwhile(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(system) as running:
        token = await running.issue()
    await _as_before(system)

    async def cut_off(*_: object, **__: object) -> int:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(RowRewriter, "_write_secrets", cut_off)
        with pytest.raises(RuntimeError):
            await bootstrap.prepare(system.settings)
    first = rows.keys(system.settings).rows
    with pytest.raises(KeyringError, match="rescind migrate"):
        await Authority(system.settings, announce=lambda **_: None).run(Stop())
    await bootstrap.prepare(system.settings)
    assert rows.keys(system.settings).rows == first
    async with serving(system) as running:
        assert await _live(running, token["token"])


async def test_a_new_installation_accepts_no_row_without_a_mac(system: System) -> None:
    await bootstrap.prepare(system.settings)
    assert not rows.keys(system.settings).adopting
    async with serving(system) as running:
        token = await running.issue()
        await system.tamper("UPDATE tokens SET mac = NULL WHERE token_id = $1", token["token_id"])
    await bootstrap.prepare(system.settings)
    async with serving(system) as running:
        assert not await _live(running, token["token"])


async def test_a_keyring_older_than_the_rows_is_refused(system: System) -> None:
    await bootstrap.prepare(system.settings)
    found = json.loads(system.settings.keyring_path.read_text())
    del found["rows"]
    system.settings.keyring_path.write_text(json.dumps(found))
    with pytest.raises(KeyFileError, match="older than they are"):
        await bootstrap.prepare(system.settings)


@pytest.mark.parametrize("trusting", [True, False])
async def test_a_lost_keyring_is_replaced_only_by_an_operator(
    system: System, trusting: bool
) -> None:
    async with serving(system) as running:
        token = await running.issue()
    system.settings.keyring_path.unlink()
    system.settings.trust_path.unlink()
    with pytest.raises(KeyFileError, match="changed-postgres"):
        await bootstrap.prepare(system.settings)
    await bootstrap.prepare(system.settings, Replacing(keyring=True, trust_rows=trusting))
    if trusting:
        async with serving(system) as running:
            assert await _live(running, token["token"])
    else:
        guard = rows.guard(system.settings)
        found = await system.tamper("SELECT token_id FROM tokens")
        async with pool.connect(system.dsn) as postgres:
            snapshot = await rows.records(postgres, guard).by_id([row["token_id"] for row in found])
        assert snapshot.tokens == ()


async def test_rows_follow_a_rotated_key_and_the_former_one_retires(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rescind_runtime.crypto.signing.OVERLAP_US", 0)
    async with serving(system) as running:
        made = [await running.issue() for _ in range(5)]
        forged = await running.issue()
        await running.http.post(f"/v1/tokens/{made[0]['token_id']}/rotate", json={"overlap": 600})
        await system.tamper(
            "UPDATE tokens SET scopes = '{*}' WHERE token_id = $1", forged["token_id"]
        )
        key_commands.rotate(system.settings, ROWS)
        left = await eventually(
            lambda: bootstrap.former_rows(system.settings), until=lambda left: left <= 1
        )
        assert left == 1  # the changed one
        with pytest.raises(KeyringError, match="1 rows"):
            key_commands.require_rewritten(left)
        await system.tamper("DELETE FROM tokens WHERE token_id = $1", forged["token_id"])
        assert await bootstrap.former_rows(system.settings) == 0
        key_commands.retire(system.settings, ROWS)
    async with serving(system) as running:
        for token in made:
            assert await _live(running, token["token"])
