"""Many commands in one call: each has an outcome of its own, and a key of its own."""

from typing import Any

from tests.support.authority import Running, System, serving


async def send(authority: Running, *deeds: dict[str, Any], **rest: Any) -> dict[str, Any]:
    headers = {"Idempotency-Key": rest.pop("key")} if "key" in rest else {}
    answer = await authority.http.post(
        "/v1/revocations/batch", json={"revocations": list(deeds), **rest}, headers=headers
    )
    assert answer.status_code in (200, 202), answer.text
    found: dict[str, Any] = answer.json()
    return found


def subject(number: int) -> dict[str, Any]:
    return {"selector": [f"subject:agent:{number}"], "reason": "leaked"}


async def test_each_command_has_an_outcome_and_a_bad_one_does_not_fail_the_others(
    system: System,
) -> None:
    async with serving(system) as authority:
        token = await authority.issue("agent:1")
        found = await send(
            authority,
            subject(1),
            {"selector": ["tokn:x"]},
            {"selector": ["tenant:t"], "effect": "narrow"},
            {"token": "rsc_agt_nothing"},
            {"selector": ["subject:agent:2"], "effect": "suspend"},
        )
        assert (found["committed"], found["refused"]) == (2, 3)
        problems = [each.get("problem") for each in found["outcomes"]]
        assert [problem and problem["errors"][0]["field"] for problem in problems] == [
            None,
            "selector",
            "scopes",
            "token",
            None,
        ]
        assert sorted(each["seq"] for each in found["outcomes"] if each["seq"]) == [1, 2]
        answer = await authority.http.get(f"/v1/tokens/{token['token_id']}")
        assert answer.json()["state"] == "revoked"


async def test_a_repeated_batch_under_its_key_commits_nothing_twice(system: System) -> None:
    async with serving(system) as authority:
        deeds = [subject(number) for number in range(300)]
        first = await send(authority, *deeds, key="leak-7")
        again = await send(authority, *deeds, key="leak-7")
        assert first == again
        assert (await system.rows("SELECT seq FROM ledger_head"))[0]["seq"] == 300
        other = await send(authority, subject(999), *deeds[1:], key="leak-7")
        assert (other["committed"], other["refused"]) == (299, 1)
        assert other["outcomes"][0]["problem"]["type"].endswith("idempotency-key-reused")


async def test_one_call_carries_at_most_a_thousand_commands(system: System) -> None:
    async with serving(system) as authority:
        found = await send(authority, *(subject(number) for number in range(1_000)))
        assert found["committed"] == 1_000
        assert len({each["seq"] for each in found["outcomes"]}) == 1_000
        deeds = [subject(number) for number in range(1_001)]
        refused = await authority.http.post("/v1/revocations/batch", json={"revocations": deeds})
        assert refused.status_code == 422
        assert (await system.rows("SELECT seq FROM ledger_head"))[0]["seq"] == 1_000


async def test_a_malformed_command_refuses_the_call_and_is_named(system: System) -> None:
    async with serving(system) as authority:
        deeds = [subject(1), {"selector": "subject:agent:2"}]
        refused = await authority.http.post("/v1/revocations/batch", json={"revocations": deeds})
        assert refused.status_code == 422
        assert refused.json()["errors"][0]["field"] == "revocations.1.selector"
        assert (await system.rows("SELECT seq FROM ledger_head"))[0]["seq"] == 0


async def test_waiting_for_a_batch_waits_for_its_last_event(system: System) -> None:
    async with serving(system) as authority:
        found = await send(authority, subject(1), subject(2), {"selector": []}, wait=True)
        assert found["state"] == "enforced"
        assert found["receipt"]["seq"] == 2 == max(each["seq"] or 0 for each in found["outcomes"])


async def test_a_caller_without_the_revoke_scope_cannot_revoke_in_a_batch(system: System) -> None:
    async with serving(system) as authority:
        reader = await authority.issue(
            "admin:reader", kind="admin", scopes=["rescind:read"], audience=["rescind"]
        )
        answer = await authority.http.post(
            "/v1/revocations/batch",
            json={"revocations": [subject(1)]},
            headers={"Authorization": f"Bearer {reader['token']}"},
        )
        assert answer.status_code == 403
