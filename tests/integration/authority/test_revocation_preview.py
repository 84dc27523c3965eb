"""The blast radius before a command, and the commands that must be looked at first."""

from collections.abc import Mapping
from typing import Any

import httpx2
from tests.support.authority import Running, System, now_us, serving
from tests.support.eventually import eventually

from rescind.wire import nats_subjects, usage_report

Body = Mapping[str, Any]


async def send(authority: Running, **body: object) -> httpx2.Response:
    return await authority.http.post("/v1/revocations", json=body)


async def look(authority: Running, *selector: str, **rest: object) -> Body:
    answer = await send(authority, selector=list(selector), dry_run=True, **rest)
    assert answer.status_code == 200, answer.text
    found: Body = answer.json()
    return found


async def clone(system: System, count: int) -> None:
    """Have so many more tokens like the newest one."""
    facts = (
        "kind, subject, scopes, audience, tenant, labels, handles, issued_at, issued_seq, "
        "expires_at, created_by"
    )
    await system.rows(
        f"INSERT INTO tokens (token_id, token_hash, {facts}) "  # noqa: S608 - ours alone
        f"SELECT 'tok_' || lpad(n::text, 26, '0'), sha256(n::text::bytea), {facts} "
        "FROM generate_series(1, $1) AS n, "
        "(SELECT * FROM tokens ORDER BY issued_at DESC LIMIT 1) AS newest",
        count,
    )


async def seq(system: System) -> int:
    found: int = (await system.rows("SELECT seq FROM ledger_head"))[0]["seq"]
    return found


async def test_a_dry_run_counts_and_changes_nothing(system: System) -> None:
    async with serving(system) as authority:
        for number in range(3):
            await authority.issue("agent:a", tenant="t", labels={"n": str(number)})
        await authority.issue("agent:b", tenant="t")
        await authority.issue("agent:b")
        await system.rows(
            "UPDATE tokens SET lineage = '{x}', chain = '{y}' "
            "WHERE subject = 'agent:b' AND tenant IS NULL"
        )
        found = await look(authority, "tenant:t")
        assert (found["tokens"], found["subjects"], found["exact"]) == (4, 2, True)
        assert (await look(authority, "subject:agent:b"))["selector"] == ["chain:agent:b"]
        assert (await look(authority, "subject:agent:b"))["delegated"] == 1
        assert (await look(authority, "tenant:t", "label:n=1"))["tokens"] == 1
        assert (await look(authority, "tenant:t", effect="suspend"))["tokens"] == 4
        assert (await look(authority, "tenant:none"))["tokens"] == 0
        assert await seq(system) == 0
        assert await system.rows("SELECT FROM idempotency") == await system.rows(
            "SELECT FROM idempotency WHERE answer IS NOT NULL"
        )


async def test_a_preview_counts_by_the_cutoff_and_leaves_out_ended_tokens_and_admins(
    system: System,
) -> None:
    async with serving(system) as authority:
        old = await authority.issue("agent:a", tenant="t")
        new = await authority.issue("agent:a", tenant="t")
        by_cutoff = await look(authority, "tenant:t", issued_before=new["issued_at"])
        assert by_cutoff["tokens"] == 1
        await system.rows(
            "UPDATE tokens SET issued_at = now() - interval '2 h', "
            "expires_at = now() - interval '1 h' WHERE token_id = $1",
            old["token_id"],
        )
        assert (await look(authority, "tenant:t"))["tokens"] == 1
        everybody = (await look(authority, "*"))["tokens"]
        assert everybody == 1  # the admin tokens are spared unless they are named
        assert (await look(authority, "kind:admin"))["tokens"] >= 1


async def test_a_preview_names_the_services_that_saw_the_tokens_recently(system: System) -> None:
    async with serving(system) as authority, system.sidecar() as one, system.sidecar("mail") as two:
        token = await authority.issue("agent:a")
        for sidecar in (one, two):
            await sidecar.beat()
            report = usage_report.encode(
                usage_report.Used(sidecar.instance, (token["token_id"],), now_us())
            )
            await sidecar.nats.publish(nats_subjects.USED, sidecar.spoken(report))

        async def services() -> list[str]:
            found: list[str] = (await look(authority, "subject:agent:a"))["services"]
            return found

        assert await eventually(services, until=lambda found: len(found) == 2) == ["mail", "search"]
        assert (await look(authority, "subject:agent:a"))["used"] == 1


async def test_a_command_that_hits_many_holders_needs_a_preview(system: System) -> None:
    async with serving(system.but(preview_above=2)) as authority:
        for number in range(3):
            await authority.issue(f"agent:{number}", tenant="t", labels={"crew": "x"})
        refused = await send(authority, selector=["tenant:t"])
        assert (refused.status_code, refused.json()["type"]) == (
            409,
            "urn:rescind:problem:preview-needed",
        )
        assert await seq(system) == 0
        found = await look(authority, "tenant:t")
        assert found["preview_needed"]
        for other in ({"selector": ["label:crew=x"]}, {"selector": ["tenant:t"], "effect": "kill"}):
            wrong = await send(authority, **other, preview=found["preview"])
            assert wrong.status_code in (409, 422)
        forged = await send(authority, selector=["tenant:t"], preview="3-0")
        assert forged.status_code == 409
        done = await send(authority, selector=["tenant:t"], preview=found["preview"])
        assert done.status_code == 201


async def test_a_preview_is_refused_if_the_command_hits_many_more_tokens_since(
    system: System,
) -> None:
    async with serving(system.but(preview_above=2)) as authority:
        for number in range(3):
            await authority.issue(f"agent:{number}", tenant="t")
        found = await look(authority, "tenant:t")
        await clone(system, 200)
        grown = await send(authority, selector=["tenant:t"], preview=found["preview"])
        assert grown.status_code == 409
        again = await look(authority, "tenant:t")
        assert (again["tokens"], again["preview"] != found["preview"]) == (203, True)


async def test_a_selector_that_names_a_holder_never_needs_a_preview(system: System) -> None:
    async with serving(system.but(preview_above=0)) as authority:
        token = await authority.issue("agent:a", tenant="t", session="s")
        handles = (f"token:{token['token_id']}", "subject:agent:a", "session:s")
        for selector in ([each] for each in handles):
            assert (await send(authority, selector=selector)).status_code == 201
        await authority.issue("agent:a", tenant="t")
        assert (await send(authority, selector=["tenant:t"])).status_code == 409


async def test_beyond_the_bound_the_count_is_an_estimate_and_is_marked_as_one(
    system: System,
) -> None:
    async with serving(system) as authority:
        await authority.issue("agent:many", tenant="big")
        await clone(system, 12_000)
        await system.rows("ANALYZE tokens")
        found = await look(authority, "tenant:big")
        assert found["exact"] is False
        assert 11_000 < found["tokens"] < 13_000
        assert found["preview_needed"]
