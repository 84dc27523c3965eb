"""Suspend, narrow, kill and lift, on a real Postgres (design 5)."""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from tests.support.authority import Running, System, serving
from tests.support.eventually import eventually
from tests.support.naive_ledger import Issued, NaiveLedger
from tests.support.rows import guard
from tests.support.sweeping import swept

from rescind.wire import events
from rescind_authority import actors
from rescind_authority.postgres import pool
from rescind_authority.postgres.records import PostgresRecords
from rescind_authority.usecases.lookups.resolver import restrictions_of
from rescind_authority.usecases.revocations.scheduled_lifts import LiftScheduler

NOBODY = "rev_00000000000000000000000000"


async def lift(authority: Running, revocation_id: str, **rest: object) -> httpx2.Response:
    return await authority.http.post(f"/v1/revocations/{revocation_id}/lift", json=rest)


async def state(authority: Running, token: dict[str, Any]) -> str:
    seen: dict[str, str] = (await authority.http.get(f"/v1/tokens/{token['token_id']}")).json()
    return seen["state"]


async def issue_status(authority: Running, subject: str) -> int:
    body = {"subject": subject, "kind": "agent"}
    return (await authority.http.post("/v1/tokens", json=body)).status_code


async def effects(system: System) -> list[tuple[int, str]]:
    found = await system.rows("SELECT seq, effect FROM revocations ORDER BY seq")
    return [(row["seq"], row["effect"]) for row in found]


def soon(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


async def test_a_suspension_denies_existing_tokens_and_refuses_new_ones_until_the_lift(
    system: System,
) -> None:
    async with serving(system) as authority:
        token = await authority.issue("agent:a")
        suspended = await authority.revoke("subject:agent:a", effect="suspend", reason="odd")
        assert (suspended["effect"], suspended["selector"]) == ("suspend", ["chain:agent:a"])
        assert await state(authority, token) == "suspended"
        assert await issue_status(authority, "agent:a") == 409
        assert await issue_status(authority, "agent:b") == 201
        answer = await lift(authority, suspended["id"], reason="it was us")
        assert answer.status_code == 201
        lifted = answer.json()
        assert lifted["effect"] == "lift"
        assert lifted["lifts"] == suspended["id"] != lifted["id"]
        assert lifted["selector"] == suspended["selector"]
        assert await state(authority, token) == "active"
        assert await issue_status(authority, "agent:a") == 201
        seen = (await authority.http.get(f"/v1/revocations/{suspended['id']}")).json()
        assert seen["lifted_at"] == lifted["committed_at"]


async def test_lifting_one_revocation_never_revives_a_token_that_another_one_denies(
    system: System,
) -> None:
    async with serving(system) as authority:
        token = await authority.issue("agent:a", tenant="t")
        one = await authority.revoke("subject:agent:a", effect="suspend")
        two = await authority.revoke("tenant:t", effect="suspend")
        await lift(authority, one["id"])
        assert await state(authority, token) == "suspended"
        await authority.revoke(f"token:{token['token_id']}")
        await lift(authority, two["id"])
        assert await state(authority, token) == "revoked"


async def test_only_a_standing_suspend_or_narrow_can_be_lifted(system: System) -> None:
    async with serving(system) as authority:
        revoked = await authority.revoke("tenant:t")
        suspended = await authority.revoke("tenant:u", effect="suspend")
        lifted = (await lift(authority, suspended["id"])).json()
        for final in (revoked, lifted):
            answer = await lift(authority, final["id"])
            assert answer.status_code == 409
            assert answer.json()["type"] == "urn:rescind:problem:final"
        for unknown in (NOBODY, "rev_x", "%00"):
            assert (await lift(authority, unknown)).status_code == 404
        assert await effects(system) == [(1, "revoke"), (2, "suspend"), (3, "lift")]


async def test_a_second_lift_commits_its_own_event_and_a_repeated_one_does_not(
    system: System,
) -> None:
    async with serving(system) as authority:
        suspended = await authority.revoke("tenant:t", effect="suspend")
        path = f"/v1/revocations/{suspended['id']}/lift"
        key = {"Idempotency-Key": "once"}
        first = (await authority.http.post(path, json={}, headers=key)).json()
        again = (await authority.http.post(path, json={}, headers=key)).json()
        other = (await authority.http.post(path, json={})).json()
        assert first["id"] == again["id"] != other["id"]
        assert (first["seq"], again["seq"], other["seq"]) == (2, 2, 3)
        seen = (await authority.http.get(f"/v1/revocations/{suspended['id']}")).json()
        assert seen["lifted_at"] == first["committed_at"]


async def test_a_lift_needs_its_own_scope(system: System) -> None:
    async with serving(system) as authority:
        suspended = await authority.revoke("tenant:t", effect="suspend")
        revoker = await authority.issue(
            "admin:oncall", kind="admin", scopes=["rescind:revoke"], audience=["rescind"]
        )
        async with authority.as_bearer(revoker["token"]) as client:
            answer = await client.post(f"/v1/revocations/{suspended['id']}/lift", json={})
            assert answer.status_code == 403
            assert "rescind:lift" in answer.json()["detail"]
        lifter = await authority.issue(
            "admin:desk", kind="admin", scopes=["rescind:lift"], audience=["rescind"]
        )
        async with authority.as_bearer(lifter["token"]) as client:
            answer = await client.post("/v1/revocations", json={"selector": ["tenant:t"]})
            assert answer.status_code == 403
            answer = await client.post(f"/v1/revocations/{suspended['id']}/lift", json={})
            assert answer.status_code == 201


@pytest.mark.parametrize("effect", ["revoke", "suspend", "narrow"])
async def test_no_effect_reaches_admin_tokens_without_the_scope_for_it(
    system: System, effect: str
) -> None:
    async with serving(system) as authority:
        revoker = await authority.issue(
            "admin:oncall", kind="admin", scopes=["rescind:revoke"], audience=["rescind"]
        )
        scopes = {"scopes": ["rescind:read"]} if effect == "narrow" else {}
        async with authority.as_bearer(revoker["token"]) as client:
            for selector, status in (("subject:admin:root", 403), ("kind:admin", 403), ("*", 201)):
                body = {"selector": [selector], "effect": effect, **scopes}
                assert (await client.post("/v1/revocations", json=body)).status_code == status
        assert (await authority.http.get("/v1/tokens")).status_code == 200  # `*` spared us


async def test_a_narrow_takes_scopes_from_a_token_and_what_was_delegated_from_it(
    system: System,
) -> None:
    async with serving(system) as authority:
        parent = await authority.issue("agent:a", scopes=["read", "tools:x", "tools:y"])
        async with authority.as_bearer(parent["token"]) as bearer:
            body = {"subject": "agent:a/b", "scopes": ["read", "tools:x"]}
            child = (await bearer.post("/v1/delegations", json=body)).json()
        removed = ["tools:*"]
        narrowed = await authority.revoke("subject:agent:a", effect="narrow", scopes=removed)
        assert narrowed["scopes"] == removed
        for token in (parent, child):
            seen = (await authority.http.get(f"/v1/tokens/{token['token_id']}")).json()
            (hold,) = seen["holds"]
            assert (hold["effect"], hold["scopes"]) == ("narrow", removed)
            assert (seen["state"], seen["denied"]) == ("active", None)
            assert seen["scopes_left"] == ["read"]
        assert (await lift(authority, narrowed["id"])).status_code == 201
        seen = (await authority.http.get(f"/v1/tokens/{child['token_id']}")).json()
        assert (seen["holds"], seen["scopes_left"]) == ([], ["read", "tools:x"])


async def test_a_narrowed_admin_token_loses_the_removed_permission(system: System) -> None:
    async with serving(system) as authority:
        admin = await authority.issue(
            "admin:a", kind="admin", scopes=["rescind:read", "rescind:issue"], audience=["rescind"]
        )
        await authority.revoke("subject:admin:a", effect="narrow", scopes=["rescind:issue"])
        async with authority.as_bearer(admin["token"]) as client:
            assert (await client.get("/v1/tokens")).status_code == 200
            body = {"subject": "agent:a", "kind": "agent"}
            assert (await client.post("/v1/tokens", json=body)).status_code == 403


async def test_a_kill_is_two_events_under_one_id_and_its_lift_ends_the_suspension(
    system: System,
) -> None:
    async with serving(system) as authority:
        token = await authority.issue("agent:a")
        key = {"Idempotency-Key": "once"}
        body = {"selector": ["subject:agent:a"], "effect": "kill", "reason": "rogue"}
        killed = (await authority.http.post("/v1/revocations", json=body, headers=key)).json()
        again = (await authority.http.post("/v1/revocations", json=body, headers=key)).json()
        assert await effects(system) == [(1, "revoke"), (2, "suspend")]
        assert (killed["effect"], killed["seq"]) == ("kill", 2)
        assert killed == again
        await swept(system)
        seen = (await authority.http.get(f"/v1/revocations/{killed['id']}")).json()
        assert seen == {**killed, "swept": {"tokens": 1, "done": True}}
        listed = (await authority.http.get("/v1/revocations")).json()["revocations"]
        assert [(each["id"], each["effect"]) for each in listed] == [
            (killed["id"], "suspend"),
            (killed["id"], "revoke"),
        ]
        assert await state(authority, token) == "revoked"
        assert await issue_status(authority, "agent:a") == 409
        assert (await lift(authority, killed["id"])).status_code == 201
        assert await state(authority, token) == "revoked"
        assert await issue_status(authority, "agent:a") == 201


async def test_waiting_for_a_kill_waits_for_its_last_event(system: System) -> None:
    async with serving(system) as authority:
        killed = await authority.revoke("chain:agent:a", effect="kill", wait=True)
        assert (killed["state"], killed["seq"], killed["receipt"]["seq"]) == ("enforced", 2, 2)
        told = [(each["seq"], each["effect"]) for each in killed["receipt"]["events"]]
        assert told == [(1, "revoke"), (2, "suspend")]
        answer = await lift(authority, killed["id"], wait=True)
        assert answer.json()["receipt"]["revocation_id"] == answer.json()["id"]
        seen = (await authority.http.get(f"/v1/revocations/{killed['id']}")).json()
        assert seen["receipt"]["seq"] == 2


async def test_a_timed_suspension_ends_with_one_lift_although_two_authorities_try(
    system: System,
) -> None:
    async with serving(system) as authority, serving(system, prepare=False) as other:
        token = await authority.issue("agent:a")
        ends = datetime.now(UTC) + timedelta(seconds=3)
        suspended = await authority.revoke(
            "subject:agent:a", effect="suspend", until=ends.isoformat()
        )
        await other.revoke("tenant:t", effect="suspend", until=soon(3))

        async def free() -> bool:
            return await state(authority, token) == "active"

        await eventually(free)

        async def both_lifted() -> bool:
            return len(await effects(system)) == 4

        await eventually(both_lifted)
        rows = await system.rows(
            "SELECT actor, lifts, committed_at FROM revocations WHERE effect = 'lift' ORDER BY seq"
        )
        assert {row["actor"] for row in rows} == {actors.SCHEDULED_LIFT}
        assert rows[0]["lifts"] == suspended["id"]
        assert rows[0]["committed_at"] >= ends
        assert await issue_status(authority, "agent:a") == 201


async def test_a_suspension_that_became_due_while_no_authority_ran_is_lifted_by_the_next_one(
    system: System,
) -> None:
    async with serving(system) as authority:
        await authority.revoke("tenant:t", effect="suspend", until=soon(5))
    assert await effects(system) == [(1, "suspend")]
    await _due(system)
    async with serving(system, prepare=False):

        async def lifted() -> bool:
            return await effects(system) == [(1, "suspend"), (2, "lift")]

        await eventually(lifted)


async def _due(system: System) -> None:
    """Wait until the time of every revocation that ends by itself has come."""
    await eventually(lambda: system.rows("SELECT FROM revocations HAVING max(until) < now()"))


async def test_a_suspension_applies_past_its_end_until_the_lift_is_committed(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def sleep(_keeper: LiftScheduler) -> None:
        await asyncio.Event().wait()

    # Without the scheduler no lift is committed: the time alone must revive no token.
    monkeypatch.setattr(LiftScheduler, "run", sleep)
    async with serving(system) as authority:
        token = await authority.issue("agent:a")
        await authority.revoke("subject:agent:a", effect="suspend", until=soon(1))
        await _due(system)
        assert await state(authority, token) == "suspended"


async def test_every_effect_is_in_the_audit_with_its_reason_and_its_actor(system: System) -> None:
    async with serving(system) as authority:
        await authority.revoke("tenant:t", effect="narrow", scopes=["x"], reason="one")
        suspended = await authority.revoke("tenant:t", effect="suspend", reason="two")
        await lift(authority, suspended["id"], reason="three")
        await authority.revoke("chain:agent:a", effect="kill", reason="four")
        rows = await system.rows(
            "SELECT action, actor, detail->>'reason' AS reason FROM audit "
            "WHERE target LIKE 'rev_%' ORDER BY seq"
        )
        assert [(row["action"], row["reason"]) for row in rows] == [
            ("narrow", "one"),
            ("suspend", "two"),
            ("lift", "three"),
            ("revoke", "four"),
            ("suspend", "four"),
        ]
        (root,) = await system.rows("SELECT token_id FROM tokens WHERE kind = 'admin'")
        assert {row["actor"] for row in rows} == {f"admin:root {root['token_id']}"}


async def test_concurrent_lifts_and_suspensions_of_one_subject_leave_no_hold_unlifted(
    system: System,
) -> None:
    async with serving(system) as one, serving(system, prepare=False) as two:
        token = await one.issue("agent:a")

        async def flip(authority: Running) -> None:
            for _ in range(10):
                suspended = await authority.revoke("subject:agent:a", effect="suspend")
                assert (await lift(authority, suspended["id"])).status_code == 201

        async with asyncio.TaskGroup() as tasks:
            for authority in (one, two, one, two):
                tasks.create_task(flip(authority))
        assert await state(one, token) == "active"
        assert len(await effects(system)) == 80


_NAMED = ["subject:agent:a", "subject:agent:b", "tenant:t", "label:k=v", "*"]


@pytest.mark.parametrize("seed", range(4))
async def test_the_table_and_the_log_agree_on_every_hold(system: System, seed: int) -> None:
    """Random commands; the oracle reads nothing but the events, from the first one on."""
    random_source = random.Random(seed)
    kinds: list[dict[str, Any]] = [{}, {"tenant": "t"}, {"labels": {"k": "v"}}]
    async with serving(system) as authority:
        for subject in ("agent:a", "agent:b"):  # before a suspension keeps them out
            for facts in kinds:
                await authority.issue(subject, **facts)
        holds: list[str] = []
        for _ in range(50):
            match random_source.choice(["issue", "take", "take", "kill", "lift", "lift"]):
                case "issue":
                    facts = random_source.choice(kinds)
                    body = {
                        "subject": random_source.choice(["agent:a", "agent:b"]),
                        "kind": "agent",
                    }
                    await authority.http.post("/v1/tokens", json={**body, **facts})
                case "kill":
                    killed = await authority.revoke(random_source.choice(_NAMED[:2]), effect="kill")
                    holds.append(killed["id"])
                case "lift" if holds:
                    await lift(authority, random_source.choice(holds))
                case _:
                    effect = random_source.choice(["revoke", "suspend", "narrow"])
                    scopes = ["x"] if effect == "narrow" else []
                    selector = random_source.sample(_NAMED, random_source.choice([1, 2]))
                    taken = await authority.revoke(*selector, effect=effect, scopes=scopes)
                    holds.append(taken["id"])
        payloads = await system.rows("SELECT payload FROM events ORDER BY seq")
        oracle = NaiveLedger(events=[events.decode(row["payload"]) for row in payloads])
        tokens = await system.rows("SELECT token_id, token_hash, handles, issued_seq FROM tokens")
        async with pool.connect(system.dsn) as postgres:
            snapshot = await PostgresRecords(postgres, guard(system.settings)).by_id(
                [row["token_id"] for row in tokens]
            )
        told = {state.token.token_hash: restrictions_of(state) for state in snapshot.tokens}
        for row in tokens:
            token = Issued(row["token_hash"], tuple(row["handles"]), row["issued_seq"])
            assert told[row["token_hash"]] == oracle.state(token, len(payloads)).restrictions
        assert any(told.values())


async def test_standing_revocations_are_listed_in_pages_and_a_lift_removes_them_from_the_list(
    system: System,
) -> None:
    async with serving(system) as authority:
        made: list[str] = []
        for number in range(7):
            await authority.revoke(f"tenant:{number}")
            done = await authority.revoke(f"tenant:{number}", "label:a=b", effect="suspend")
            made.append(done["id"])
        assert (await lift(authority, made.pop(3))).status_code == 201

        async def listed(**filters: str) -> list[str]:
            names, query = list[str](), {"standing": "true", "limit": "2", **filters}
            while True:
                page = (await authority.http.get("/v1/revocations", params=query)).json()
                names += [each["id"] for each in page["revocations"]]
                if page["next"] is None:
                    return names
                query["cursor"] = page["next"]

        assert await listed() == made[::-1]
        assert await listed(handle="label:a=b") == made[::-1]
        assert await listed(handle="tenant:5") == [made[4]]
        assert await listed(handle="tenant:3") == []
