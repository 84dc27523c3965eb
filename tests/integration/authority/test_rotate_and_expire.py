"""Rotate and expire on a real Postgres: a new secret, an earlier end, an old one used again."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import ANY

import httpx2
from tests.support.authority import Running, Sidecar, System, serving
from tests.support.eventually import eventually

from rescind.core.record import Record


async def rotate(authority: Running, token_id: str, **how: object) -> dict[str, Any]:
    answer = await authority.http.post(f"/v1/tokens/{token_id}/rotate", json=how)
    assert answer.status_code in (200, 202), answer.text
    rotated: dict[str, Any] = answer.json()
    return rotated


async def record(sidecar: Sidecar, token: str) -> Record:
    found = (await sidecar.resolve(token))[1]
    assert found is not None
    return found


async def facts(authority: Running, token: dict[str, Any]) -> dict[str, Any]:
    answer = await authority.http.get(f"/v1/tokens/{token['token_id']}")
    found: dict[str, Any] = answer.json()
    return found


async def long_ago(system: System) -> None:
    """Have every rotation lie an hour back, and its overlap with it."""
    await system.rows(
        "UPDATE retired_secrets SET retired_at = retired_at - interval '1 h', "
        "good_until = good_until - interval '1 h'"
    )


async def effects(system: System) -> list[tuple[str, list[str]]]:
    found = await system.rows("SELECT effect, selector FROM revocations ORDER BY seq")
    return [(row["effect"], row["selector"]) for row in found]


async def test_a_rotation_leaves_the_grant_and_ends_the_old_secret(system: System) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        old = await authority.issue("agent:a", scopes=["x"], labels={"n": "1"})
        before = await facts(authority, old)
        new = await rotate(authority, old["token_id"], reason="the quarter is over")
        assert new["token"] != old["token"]
        assert new["token_id"] == old["token_id"]
        assert await effects(system) == [("changed", [f"token:{old['token_id']}"])]
        assert await facts(authority, old) == before | {"as_of": 1, "at": ANY}
        at_us = datetime.now(UTC).timestamp() * 1e6
        assert (await record(sidecar, old["token"])).expires_at_us <= at_us
        fresh = await record(sidecar, new["token"])
        assert (fresh.expires_at_us > at_us, fresh.scopes) == (True, frozenset({"x"}))


async def test_during_an_overlap_both_secrets_are_valid_but_not_longer_than_the_token(
    system: System,
) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        old = await authority.issue("agent:a", ttl=600)
        await rotate(authority, old["token_id"], overlap=60)
        ends_us = (await record(sidecar, old["token"])).expires_at_us
        assert 50e6 < ends_us - datetime.now(UTC).timestamp() * 1e6 < 61e6
        newer = await rotate(authority, old["token_id"], overlap=86_400)
        newest = await rotate(authority, old["token_id"], overlap=86_400)
        ends = (await record(sidecar, newest["token"])).expires_at_us
        assert (await record(sidecar, newer["token"])).expires_at_us == ends


async def test_a_child_survives_a_rotation_of_its_parent_and_dies_with_the_parent(
    system: System,
) -> None:
    async with serving(system) as authority:
        parent = await authority.issue("agent:a")
        async with authority.as_bearer(parent["token"]) as bearer:
            body = {"subject": "agent:a/b"}
            child = (await bearer.post("/v1/delegations", json=body)).json()
        await rotate(authority, parent["token_id"])
        assert (await facts(authority, child))["state"] == "active"
        async with authority.as_bearer(parent["token"]) as bearer:
            assert (await bearer.post("/v1/delegations", json=body)).status_code == 401
        await authority.revoke(f"token:{parent['token_id']}")
        assert (await facts(authority, child))["state"] == "revoked"


async def test_reuse_of_the_old_secret_ends_the_token_and_its_tree_once(system: System) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        old = await authority.issue("agent:a")
        new = await rotate(authority, old["token_id"])
        await record(sidecar, old["token"])  # a request that was under way: within the leeway
        await long_ago(system)
        assert len(await effects(system)) == 1
        for _ in range(3):
            await record(sidecar, old["token"])

        async def state() -> str:
            return str((await facts(authority, new))["state"])

        await eventually(state, until=lambda seen: seen == "revoked")
        assert await effects(system) == [
            ("changed", [f"token:{old['token_id']}"]),
            ("revoke", [f"tree:{old['token_id']}"]),
        ]
        held = (await facts(authority, new))["holds"][0]
        assert held["actor"] == "rescind:reuse"
        answer = await authority.http.post(f"/v1/tokens/{old['token_id']}/rotate", json={})
        assert answer.status_code == 409


async def test_reuse_ends_nothing_after_a_rotation_with_on_reuse_deny(system: System) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        old = await authority.issue("service:cron")
        await rotate(authority, old["token_id"], on_reuse="deny")
        await long_ago(system)
        await record(sidecar, old["token"])
        await authority.revoke("tenant:somebody-else")  # after which a reuse would be there too
        assert [effect for effect, _ in await effects(system)] == ["changed", "revoke"]
        assert (await facts(authority, old))["state"] == "active"


async def test_a_bearer_rotates_its_own_token_and_one_of_two_concurrent_rotations_wins(
    system: System,
) -> None:
    async with serving(system) as authority:
        token = await authority.issue("user:1", kind="session")
        async with authority.as_bearer(token["token"]) as bearer:

            async def one() -> httpx2.Response:
                return await bearer.post("/v1/rotations", json={})

            async with asyncio.TaskGroup() as tasks:
                tries = [tasks.create_task(one()) for _ in range(8)]
        won = [each.result() for each in tries if each.result().status_code == 200]
        assert len(won) == 1
        assert {each.result().status_code for each in tries} <= {200, 401, 409}
        async with authority.as_bearer(won[0].json()["token"]) as bearer:
            assert (await bearer.post("/v1/rotations", json={})).status_code == 200


async def test_a_repeat_under_one_key_rotates_once_and_shows_no_secret(system: System) -> None:
    async with serving(system) as authority:
        token = await authority.issue("agent:a")
        headers = {"Idempotency-Key": "rotate-1"}
        path = f"/v1/tokens/{token['token_id']}/rotate"
        first = (await authority.http.post(path, json={}, headers=headers)).json()
        again = (await authority.http.post(path, json={}, headers=headers)).json()
        assert again == first | {"token": None}
        other = await authority.http.post(path, json={"overlap": 5}, headers=headers)
        assert other.status_code == 422


async def test_a_refused_rotation_changes_nothing(system: System) -> None:
    async with serving(system) as authority:
        suspended = await authority.issue("agent:s")
        await authority.revoke("subject:agent:s", effect="suspend")
        ended = await authority.issue("agent:e")
        answer = await authority.http.post(f"/v1/tokens/{ended['token_id']}/expire", json={})
        assert answer.status_code == 200
        for token in (suspended, ended):
            path = f"/v1/tokens/{token['token_id']}/rotate"
            assert (await authority.http.post(path, json={})).status_code == 409
        path = f"/v1/tokens/{suspended['token_id']}/rotate"
        assert (await authority.http.post(path, json={"overlap": -1})).status_code == 422
        nobody = "/v1/tokens/tok_00000000000000000000000000/rotate"
        assert (await authority.http.post(nobody, json={})).status_code == 404
        assert await system.rows("SELECT FROM retired_secrets") == []


async def test_expiring_a_token_shortens_its_life_and_never_extends_it(system: System) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        token = await authority.issue("agent:a", ttl=600)
        path = f"/v1/tokens/{token['token_id']}/expire"
        later = (datetime.now(UTC) + timedelta(days=9)).isoformat()
        assert (await authority.http.post(path, json={"at": later})).status_code == 200
        assert (await facts(authority, token))["expires_at"] == token["expires_at"]
        soon = (datetime.now(UTC) + timedelta(seconds=90)).isoformat()
        await authority.http.post(path, json={"at": soon, "reason": "the contract ends"})
        left_us = (await record(sidecar, token["token"])).expires_at_us
        assert 80e6 < left_us - datetime.now(UTC).timestamp() * 1e6 < 91e6
        await authority.http.post(path, json={})
        assert (await facts(authority, token))["state"] == "expired"
        assert (await authority.http.post(path, json={})).status_code == 409
        assert [effect for effect, _ in await effects(system)] == ["changed"] * 3


async def delegated(authority: Running, parent: dict[str, Any], **asked: object) -> dict[str, Any]:
    async with authority.as_bearer(parent["token"]) as bearer:
        body = {"subject": f"{parent['subject']}/x", **asked}
        answer = await bearer.post("/v1/delegations", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made | {"subject": f"{parent['subject']}/x"}


async def expire(authority: Running, token: dict[str, Any], **how: object) -> dict[str, Any]:
    answer = await authority.http.post(f"/v1/tokens/{token['token_id']}/expire", json=how)
    assert answer.status_code == 200, answer.text
    expired: dict[str, Any] = answer.json()
    return expired


async def test_descendants_end_with_the_early_end_of_an_ancestor_everywhere(
    system: System,
) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        parent = await authority.issue("agent:a")
        child = await delegated(authority, parent)
        grandchild = await delegated(authority, child)
        other = await authority.issue("agent:a")
        await expire(authority, parent)
        # One event reaches what verifiers remember of all three.
        assert await effects(system) == [("changed", [f"tree:{parent['token_id']}"])]
        for token, state in ((child, "expired"), (grandchild, "expired"), (other, "active")):
            assert (await facts(authority, token))["state"] == state
            assert bool((await record(sidecar, token["token"])).restrictions) is (
                state == "expired"
            )
            page = await authority.http.get(
                "/v1/tokens", params={"state": state, "subject": token["subject"]}
            )
            assert token["token_id"] in [each["token_id"] for each in page.json()["tokens"]]
        radius = await authority.http.post(
            "/v1/revocations", json={"selector": ["chain:agent:a"], "dry_run": True}
        )
        assert radius.json()["tokens"] == 1
        for token in (child, grandchild):
            async with authority.as_bearer(token["token"]) as bearer:
                body = {"subject": f"{token['subject']}/y"}
                assert (await bearer.post("/v1/delegations", json=body)).status_code == 401
                assert (await bearer.post("/v1/rotations", json={})).status_code == 401


async def test_a_child_ends_at_the_scheduled_end_of_its_parent(system: System) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        parent = await authority.issue("agent:a", ttl=3600)
        child = await delegated(authority, parent, ttl=1800)
        soon = datetime.now(UTC) + timedelta(seconds=90)
        await expire(authority, parent, at=soon.isoformat())
        ends_us = (await record(sidecar, child["token"])).expires_at_us
        assert ends_us == (await record(sidecar, parent["token"])).expires_at_us
        young = await delegated(authority, parent)
        assert (await record(sidecar, young["token"])).expires_at_us <= ends_us
        await expire(authority, parent, at=datetime.now(UTC).timestamp() - 1)
        assert (await record(sidecar, young["token"])).restrictions


async def test_a_child_delegated_by_a_secret_in_its_overlap_ends_with_the_overlap(
    system: System,
) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        old = await authority.issue("agent:a", ttl=3600)
        new = await rotate(authority, old["token_id"], overlap=60, on_reuse="deny")
        child = await delegated(authority, old)
        assert (await record(sidecar, child["token"])).live
        ends_us = (await record(sidecar, old["token"])).expires_at_us
        assert (await record(sidecar, child["token"])).expires_at_us == ends_us
        async with authority.as_bearer(old["token"]) as bearer:
            body = {"subject": "agent:a/x", "ttl": 61}
            assert (await bearer.post("/v1/delegations", json=body)).status_code == 403
            # The holder of the new secret rotates; with the old one the token would change hands.
            assert (await bearer.post("/v1/rotations", json={})).status_code == 409
            await long_ago(system)
            assert (await bearer.post("/v1/delegations", json=body)).status_code == 401
        fresh = await delegated(authority, old | {"token": new["token"]})
        assert (await record(sidecar, fresh["token"])).expires_at_us > ends_us


async def test_a_token_that_is_not_yet_valid_can_be_expired(system: System) -> None:
    async with serving(system) as authority:
        begins = (datetime.now(UTC) + timedelta(seconds=300)).isoformat()
        token = await authority.issue("agent:a", ttl=600, not_before=begins)
        path = f"/v1/tokens/{token['token_id']}/expire"
        assert (await authority.http.post(path, json={})).status_code == 200
        assert (await facts(authority, token))["state"] == "expired"


async def test_many_tokens_are_expired_in_one_call_each_with_its_outcome(system: System) -> None:
    async with serving(system) as authority:
        ids = [(await authority.issue("agent:a"))["token_id"] for _ in range(5)]
        body = {"token_ids": [*ids, "tok_00000000000000000000000000", "x"]}
        headers = {"Idempotency-Key": "many"}
        answer = await authority.http.post("/v1/tokens/expire", json=body, headers=headers)
        found = answer.json()
        assert (found["changed"], found["refused"]) == (5, 2)
        assert sorted(each["seq"] or 0 for each in found["outcomes"]) == [0, 0, 1, 2, 3, 4, 5]
        again = await authority.http.post("/v1/tokens/expire", json=body, headers=headers)
        assert again.json() == found


async def test_the_revoke_scope_does_not_allow_rotating_and_the_issue_scope_does_not_allow_expiring(
    system: System,
) -> None:
    async with serving(system) as authority:
        token = await authority.issue("agent:a")
        for scope, refused in (("rescind:revoke", "rotate"), ("rescind:issue", "expire")):
            admin = await authority.issue(
                f"admin:{refused}", kind="admin", scopes=[scope], audience=["rescind"]
            )
            async with authority.as_bearer(admin["token"]) as bearer:
                path = f"/v1/tokens/{token['token_id']}/{refused}"
                assert (await bearer.post(path, json={})).status_code == 403
