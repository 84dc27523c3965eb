"""What a command hit: counted as of its place in the ledger, the same at each look."""

import asyncio
from collections.abc import Mapping
from typing import Any

import asyncpg
import httpx2
from tests.support.authority import Running, System, serving

Body = Mapping[str, Any]


async def send(authority: Running, **body: object) -> Body:
    answer = await authority.http.post("/v1/revocations", json=body)
    assert answer.status_code in (200, 201), answer.text
    found: Body = answer.json()
    return found


def hit(answer: Body) -> tuple[int, int, bool]:
    return answer["hit"], answer["hit_subjects"], answer["hit_exact"]


async def dry(authority: Running, *selector: str) -> int:
    found: int = (await send(authority, selector=list(selector), dry_run=True))["tokens"]
    return found


async def test_each_effect_reports_how_many_live_tokens_and_subjects_it_hits(
    system: System,
) -> None:
    async with serving(system) as authority:
        for subject in ("agent:a", "agent:a", "agent:b"):
            await authority.issue(subject, tenant="t")
        await authority.issue("agent:c", tenant="other")
        narrowed = await send(authority, selector=["tenant:t"], effect="narrow", scopes=["read"])
        assert hit(narrowed) == (3, 2, True)
        suspended = await send(authority, selector=["subject:agent:a"], effect="suspend")
        assert hit(suspended) == (2, 1, True)
        killed = await send(authority, selector=["chain:agent:a"], effect="kill")
        assert hit(killed) == (2, 1, True), "what is only suspended had not ended"
        assert hit(await send(authority, selector=["tenant:t"])) == (1, 1, True)
        assert hit(await send(authority, selector=["tenant:t"])) == (0, 0, True)
        assert hit(await send(authority, selector=["subject:agent:nobody"])) == (0, 0, True)


async def test_an_ended_token_is_not_counted_and_a_dry_run_reports_the_same(system: System) -> None:
    async with serving(system) as authority:
        tokens = [(await authority.issue("agent:a", tenant="t"))["token_id"] for _ in range(5)]
        expired = await authority.http.post(f"/v1/tokens/{tokens[0]}/expire", json={})
        assert expired.status_code == 200, expired.text
        await system.rows(
            "UPDATE tokens SET issued_at = now() - interval '2 h', "
            "expires_at = now() - interval '1 h' WHERE token_id = $1",
            tokens[1],
        )
        assert hit(await send(authority, selector=[f"token:{tokens[2]}"])) == (1, 1, True)
        # Whether the sweep has stamped the one that is revoked, or not yet, makes no difference.
        assert await dry(authority, "tenant:t") == 2
        await system.rows("DELETE FROM revoked_tokens")
        await system.rows("UPDATE sweep SET seq = 0, before = NULL")
        assert await dry(authority, "tenant:t") == 2
        assert hit(await send(authority, selector=["tenant:t"])) == (2, 1, True)


async def test_a_repeat_and_a_later_read_report_the_same_count_as_the_command(
    system: System,
) -> None:
    async with serving(system) as authority:
        await authority.issue("agent:a")
        headers = {"idempotency-key": "once"}
        body = {"selector": ["subject:agent:a"]}
        first = (await authority.http.post("/v1/revocations", json=body, headers=headers)).json()
        await authority.issue("agent:a")
        await send(authority, selector=["chain:agent:a"], effect="kill")
        again = (await authority.http.post("/v1/revocations", json=body, headers=headers)).json()
        looked = (await authority.http.get(f"/v1/revocations/{first['id']}")).json()
        waited = (await authority.http.get(f"/v1/revocations/{first['id']}/receipt")).json()
        assert {each["hit"] for each in (first, again, looked, waited)} == {1}
        assert waited["receipt"]["hit"] == 1, "the receipt signs it"


async def test_a_lift_reports_the_tokens_that_it_frees_and_a_second_lift_reports_none(
    system: System,
) -> None:
    async with serving(system) as authority:
        await authority.issue("agent:a")
        held = await send(authority, selector=["subject:agent:a"], effect="suspend")

        async def lift(key: str) -> httpx2.Response:
            path = f"/v1/revocations/{held['id']}/lift"
            return await authority.http.post(path, json={}, headers={"idempotency-key": key})

        first, second, repeat = await lift("a"), await lift("b"), await lift("a")
        assert [each.json()["hit"] for each in (first, second, repeat)] == [1, 0, 1]


async def test_the_count_follows_the_cutoff_and_the_rule_for_admins(system: System) -> None:
    async with serving(system) as authority:
        await authority.issue("agent:a")
        new = await authority.issue("agent:a")
        older = {"selector": ["subject:agent:a"], "issued_before": new["issued_at"]}
        assert hit(await send(authority, **older)) == (1, 1, True)
        assert hit(await send(authority, selector=["*"], effect="suspend")) == (1, 1, True)


async def test_a_count_that_takes_too_long_leaves_the_command_done(system: System) -> None:
    async with serving(system) as authority:
        await authority.issue("agent:a")
        # A lock on what only the count reads stands for a count that does not end.
        connection = await asyncpg.connect(system.dsn)
        try:
            await connection.execute("BEGIN; LOCK TABLE revoked_tokens IN ACCESS EXCLUSIVE MODE")
            async with asyncio.timeout(15):
                done = await send(authority, selector=["subject:agent:a"], wait=True)
            assert (done["state"], done["hit"]) == ("enforced", None)
        finally:
            await connection.close()
