"""A ledger in Postgres that is not the one that authorities wrote: nothing is leased from it."""

from contextlib import suppress
from typing import Any

import pytest
from tests.support.authority import Running, Sidecar, System, serving
from tests.support.eventually import eventually

from rescind.core import ledger
from rescind.errors import MalformedMessageError
from rescind_authority.errors import StoreForgedError
from rescind_authority.operator import bootstrap


async def _live(sidecar: Sidecar, token: str) -> bool:
    _, record = await sidecar.resolve(token)
    return record is not None and not record.restrictions


async def _leased(sidecar: Sidecar) -> bool:
    with suppress(MalformedMessageError):  # of another epoch: it is to enrol again
        return await sidecar.beat() is not None
    return False


async def _changed(running: Running, path: str, **body: object) -> dict[str, Any]:
    answer = await running.http.post(path, json=body)
    assert answer.status_code in {200, 201}, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def _script(system: System, *statements: str) -> None:
    for statement in statements:
        await system.tamper(statement)


async def _copied(system: System, token_id: str) -> None:
    """Keep a token's rows as they are, with their MACs."""
    await _script(
        system,
        f"CREATE TABLE kept AS SELECT * FROM tokens WHERE token_id = '{token_id}'",  # noqa: S608
    )


_PUT_BACK = (
    "DELETE FROM retired_secrets",
    "DELETE FROM tokens WHERE token_id = (SELECT token_id FROM kept)",
)


@pytest.mark.parametrize("change", ["rotate", "expire"])
async def test_an_older_row_is_refused_although_its_mac_was_valid(
    system: System, change: str
) -> None:
    async with serving(system) as running, system.sidecar() as sidecar:
        token = await running.issue()
        await _copied(system, token["token_id"])
        await _changed(running, f"/v1/tokens/{token['token_id']}/{change}")
        assert not await _live(sidecar, token["token"])
        await _script(system, *_PUT_BACK, "INSERT INTO tokens SELECT * FROM kept")
        assert not await _live(sidecar, token["token"])


async def test_restoring_an_older_row_does_not_undo_a_scheduled_end(system: System) -> None:
    async with serving(system) as running, system.sidecar() as sidecar:
        token = await running.issue(ttl=7_200)
        await _copied(system, token["token_id"])
        path = f"/v1/tokens/{token['token_id']}/expire"
        await _changed(running, path, at=(await _now_s(system)) + 3_600)
        assert await _live(sidecar, token["token"])
        await _script(system, *_PUT_BACK, "INSERT INTO tokens SELECT * FROM kept")
        assert not await _live(sidecar, token["token"])


async def _now_s(system: System) -> float:
    return float((await system.tamper("SELECT extract(epoch FROM now())::float8 AS at"))[0]["at"])


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM revocations",
        "UPDATE revocations SET selector = selector || '{tenant:x}'",
        "UPDATE revocations SET anchor = 'tenant:x', selector = '{tenant:x}'",
        "UPDATE revocations SET issued_before = '2000-01-01'",
        "UPDATE revocations SET effect = 'lift'",
        "UPDATE revocations SET effect = 'suspend', lifted_at = now()",
        "UPDATE revocations SET effect = 'narrow', scopes = '{x:y}'",
        "UPDATE tokens SET issued_seq = 99 WHERE subject = 'agent:a'",
    ],
)
@pytest.mark.parametrize("effect", ["revoke", "suspend"])
async def test_a_changed_revocation_row_revives_no_token(
    system: System, effect: str, change: str
) -> None:
    async with serving(system) as running, system.sidecar() as sidecar:
        token, other = await running.issue(), await running.issue("agent:b")
        await running.revoke("subject:agent:a", effect=effect)
        assert not await _live(sidecar, token["token"])
        await _script(system, change)
        assert not await _live(sidecar, token["token"])
        assert await _live(sidecar, other["token"])


async def test_no_authority_lifts_a_suspension_whose_end_was_written_to_postgres_directly(
    system: System,
) -> None:
    async with serving(system) as running, system.sidecar() as sidecar:
        token = await running.issue()
        await running.revoke("subject:agent:a", effect="suspend")
        timed = await running.issue("agent:b")
        await running.revoke("subject:agent:b", effect="suspend", until=(await _now_s(system)) + 2)
        await _script(system, "UPDATE revocations SET until = now() WHERE until IS NULL")
        await eventually(lambda: _live(sidecar, timed["token"]))  # control: this one ends
        assert not await _live(sidecar, token["token"])


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM events WHERE seq = 2",
        "DELETE FROM events WHERE seq = 3",
        "UPDATE events SET payload = (SELECT payload FROM events WHERE seq = 1) WHERE seq = 2",
        "UPDATE ledger_head SET head = sha256('x')",
        "UPDATE ledger_head SET seq = seq + 1",
        "UPDATE ledger_head SET epoch = 2",
        "UPDATE ledger_head SET mac = NULL",
    ],
)
async def test_no_lease_is_granted_from_a_changed_ledger(system: System, change: str) -> None:
    async with serving(system) as running, system.sidecar() as sidecar:
        for name in "abc":
            await running.revoke(f"subject:agent:{name}")
        assert await _leased(sidecar)
        await _script(system, "DELETE FROM revocations", change)
        await eventually(lambda: _leased(sidecar), until=lambda leased: not leased)
        answer = await running.http.post(
            "/v1/revocations", json={"selector": ["subject:agent:d"], "exact": True}
        )
        assert answer.status_code == 503


async def _rolled_back(system: System) -> None:
    await _script(
        system,
        "DELETE FROM revocations WHERE seq > (SELECT seq FROM old_head)",
        "DELETE FROM events WHERE seq > (SELECT seq FROM old_head)",
        "UPDATE ledger_head SET seq = o.seq, head = o.head, mac = o.mac FROM old_head AS o",
    )


async def test_an_older_ledger_is_detected_at_once_and_after_a_restart(system: System) -> None:
    async with serving(system) as running, system.sidecar() as sidecar:
        token = await running.issue()
        await running.revoke("subject:agent:x")
        await _script(system, "CREATE TABLE old_head AS SELECT * FROM ledger_head")
        await running.revoke("subject:agent:a")
        assert not await _live(sidecar, token["token"])
        await _rolled_back(system)
        await eventually(lambda: _leased(sidecar), until=lambda leased: not leased)
    async with serving(system, prepare=False) as running, system.sidecar() as sidecar:
        await eventually(lambda: _leased(sidecar), until=lambda leased: not leased)


async def test_leases_resume_when_postgres_shows_the_genuine_ledger_again(system: System) -> None:
    async with serving(system) as running, system.sidecar() as sidecar:
        await running.revoke("subject:agent:x")
        assert await _leased(sidecar)
        await _script(
            system,
            "CREATE TABLE kept_head AS SELECT * FROM ledger_head",
            "UPDATE ledger_head SET mac = NULL",
        )
        await eventually(lambda: _leased(sidecar), until=lambda leased: not leased)
        await eventually(lambda: running.metric("rescind_authority_ledger_forged"))
        await _script(system, "UPDATE ledger_head SET mac = k.mac FROM kept_head AS k")
        await eventually(lambda: _leased(sidecar))
        assert await running.metric("rescind_authority_ledger_forged") == 0


async def test_a_lost_index_stops_leases_until_an_operator_accepts_the_ledger(
    system: System,
) -> None:
    async with serving(system) as running:
        await running.revoke("subject:agent:x")
    system.settings.ledger_index_path.unlink()
    async with serving(system, prepare=False), system.sidecar() as sidecar:
        await eventually(lambda: _leased(sidecar), until=lambda leased: not leased)
        end = await bootstrap.accept_ledger(system.settings, as_it_is=False)
        assert end.seq == 1
        await eventually(lambda: _leased(sidecar))


async def test_an_incomplete_ledger_is_accepted_only_with_the_option_as_it_is(
    system: System,
) -> None:
    async with serving(system) as running:
        for name in "abc":
            await running.revoke(f"subject:agent:{name}")
    await _script(system, "DELETE FROM revocations", "DELETE FROM events WHERE seq = 2")
    with pytest.raises(StoreForgedError, match="event 2 is missing"):
        await bootstrap.accept_ledger(system.settings, as_it_is=False)
    assert (await bootstrap.accept_ledger(system.settings, as_it_is=True)).seq == 3


async def test_a_forged_epoch_is_refused_and_an_epoch_of_the_operator_is_accepted(
    system: System,
) -> None:
    async with serving(system) as running, system.sidecar() as sidecar:
        await running.revoke("subject:agent:x")
        assert await _leased(sidecar)
        _, after = await bootstrap.new_epoch(system.settings, unknown_grace_ms=0)
        sidecar.epoch = after.epoch
        await eventually(lambda: _leased(sidecar))
        await running.revoke("subject:agent:y")
        end = (await system.tamper("SELECT seq, head FROM ledger_head"))[0]
        forged = ledger.begin_epoch(
            ledger.Position(after.epoch, end["seq"], end["head"]), epoch=1 << 40
        )
        await system.tamper(
            "UPDATE ledger_head SET epoch = $1, head = $2", forged.epoch, forged.head
        )
        await eventually(lambda: _leased(sidecar), until=lambda leased: not leased)
