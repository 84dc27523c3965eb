"""`/v1/term` on a real ledger: what is granted and what is waited for, at every step."""

import pytest
from tests.support.authority import Running, System, serving
from tests.support.eventually import eventually

TERM = "SELECT grant_term_ms, wait_term_ms FROM ledger_head"


async def put(authority: Running, term_ms: object) -> dict[str, object]:
    answer = await authority.http.put("/v1/term", json={"term_ms": term_ms})
    assert answer.status_code == 200, answer.text
    found: dict[str, object] = answer.json()
    return found


async def settled(authority: Running) -> dict[str, object]:
    async def look() -> dict[str, object]:
        found: dict[str, object] = (await authority.http.get("/v1/term")).json()
        return found

    return await eventually(look, until=lambda found: found["settled"] is True)


async def test_a_longer_term_is_waited_for_before_it_is_granted(system: System) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        assert (await put(authority, 30_000))["target_term_ms"] == 30_000
        found = await settled(authority)
        assert (found["grant_term_ms"], found["wait_term_ms"]) == (30_000, 30_000)
        reply = await sidecar.beat()
        assert reply is not None
        assert reply.grant_term_ms == 30_000
        steps = await system.rows(
            "SELECT action, actor, detail FROM audit WHERE target = 'term' ORDER BY audit_id"
        )
        (root,) = await system.rows("SELECT token_id FROM tokens WHERE kind = 'admin'")
        assert [(row["action"], row["actor"]) for row in steps] == [
            ("term.asked", f"admin:root {root['token_id']}"),
            ("term.moved", "rescind"),
            ("term.moved", "rescind"),
        ]
        assert '"grant_term_ms": 10000' in steps[1]["detail"]


async def test_a_shorter_term_is_granted_at_once_and_waited_for_after_one_old_wait(
    system: System,
) -> None:
    brief = system.but(term=2.0)
    async with serving(brief) as authority, brief.sidecar() as sidecar:
        await put(authority, 1_000)

        async def granted() -> int:
            reply = await sidecar.beat()
            assert reply is not None
            return reply.grant_term_ms

        await eventually(granted, until=lambda term_ms: term_ms == 1_000)
        assert (await system.rows(TERM))[0]["wait_term_ms"] == 2_000
        await settled(authority)
        assert tuple((await system.rows(TERM))[0]) == (1_000, 1_000)
        (lowered, shortened) = await system.rows(
            "SELECT at FROM audit WHERE action = 'term.moved' ORDER BY at"
        )
        assert (shortened["at"] - lowered["at"]).total_seconds() >= 2.04 + 0.05


async def test_another_authority_finishes_the_term_change_of_a_dead_one(system: System) -> None:
    brief = system.but(term=1.0)
    async with serving(brief) as authority:
        await put(authority, 500)
    assert tuple((await system.rows(TERM))[0])[1] == 1_000
    async with serving(brief) as another:
        await settled(another)
        assert tuple((await system.rows(TERM))[0]) == (500, 500)


@pytest.mark.parametrize("term_ms", [0, 499, 86_400_001, "1000", 1000.5, None, True])
async def test_a_term_outside_the_allowed_range_is_refused(system: System, term_ms: object) -> None:
    async with serving(system) as authority:
        answer = await authority.http.put("/v1/term", json={"term_ms": term_ms})
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"
        assert (await settled(authority))["target_term_ms"] == system.settings.term_ms


async def test_reading_and_changing_the_term_needs_the_admin_scope(system: System) -> None:
    async with serving(system) as authority:
        scopes = ["rescind:read", "rescind:issue", "rescind:revoke"]
        made = await authority.issue("admin:ops", kind="admin", scopes=scopes, audience=["rescind"])
        async with authority.as_bearer(made["token"]) as ops, authority.as_bearer(None) as nobody:
            for client, status in ((ops, 403), (nobody, 401)):
                assert (await client.get("/v1/term")).status_code == status
                answer = await client.put("/v1/term", json={"term_ms": 30_000})
                assert answer.status_code == status
        assert (await settled(authority))["target_term_ms"] == system.settings.term_ms
