"""`/v1/sessions` on a real Postgres: an owner sees and ends their own sessions, and no others."""

from typing import Any

import httpx2
from tests.support.authority import Running, System, serving

SAFARI = "Mozilla/5.0 (iPhone) Safari"


async def log_in(authority: Running, subject: str, **device: str) -> dict[str, Any]:
    return await authority.issue(subject, kind="session", **device)


async def ask(
    authority: Running, token: dict[str, Any], method: str, path: str, **body: object
) -> httpx2.Response:
    async with authority.as_bearer(token["token"]) as bearer:
        return await bearer.request(method, path, json=body or None)


async def shown(authority: Running, token: dict[str, Any]) -> list[dict[str, Any]]:
    answer = await ask(authority, token, "GET", "/v1/sessions")
    assert answer.status_code == 200, answer.text
    sessions: list[dict[str, Any]] = answer.json()["sessions"]
    return sessions


async def log_out(authority: Running, token: dict[str, Any], **how: object) -> httpx2.Response:
    return await ask(authority, token, "POST", "/v1/sessions/logout", **({"wait": False} | how))


async def state(authority: Running, token: dict[str, Any]) -> str:
    found = (await authority.http.get(f"/v1/tokens/{token['token_id']}")).json()
    return str(found["state"])


async def test_a_session_lists_all_sessions_of_its_subject(system: System) -> None:
    async with serving(system) as authority:
        phone = await log_in(authority, "user:1", user_agent=SAFARI, address="192.0.2.7")
        laptop = await log_in(authority, "user:1", address="2001:DB8::7")
        await log_in(authority, "user:2")
        await authority.issue("user:1", kind="personal")
        found = await shown(authority, phone)
        assert [(each["token_id"], each["current"]) for each in found] == [
            (laptop["token_id"], False),
            (phone["token_id"], True),
        ]
        assert (found[1]["user_agent"], found[1]["address"]) == (SAFARI, "192.0.2.7")
        assert found[0]["address"] == "2001:db8::7"
        looked = (await authority.http.get(f"/v1/tokens/{phone['token_id']}")).json()
        assert looked["user_agent"] == SAFARI


async def test_logging_out_ends_the_current_session_alone(system: System) -> None:
    async with serving(system) as authority:
        phone, laptop = [await log_in(authority, "user:1") for _ in range(2)]
        assert (await log_out(authority, phone)).status_code == 201
        assert (await state(authority, phone), await state(authority, laptop)) == (
            "revoked",
            "active",
        )
        assert (await log_out(authority, phone)).status_code == 401
        assert [each["token_id"] for each in await shown(authority, laptop)] == [laptop["token_id"]]


async def test_logging_out_another_session_ends_that_session(system: System) -> None:
    async with serving(system) as authority:
        phone, laptop = [await log_in(authority, "user:1") for _ in range(2)]
        answer = await log_out(authority, phone, token_id=laptop["token_id"], wait=True)
        assert answer.json()["state"] == "enforced"
        assert (await state(authority, phone), await state(authority, laptop)) == (
            "active",
            "revoked",
        )


async def test_logging_out_everywhere_ends_sessions_and_their_descendants_and_no_api_token(
    system: System,
) -> None:
    async with serving(system) as authority:
        phone, laptop = [await log_in(authority, "user:1") for _ in range(2)]
        key = await authority.issue("user:1", kind="personal")
        other = await log_in(authority, "user:2")
        answer = await ask(
            authority, laptop, "POST", "/v1/delegations", subject="user:1/helper", kind="agent"
        )
        helper = answer.json()
        done = await log_out(authority, phone, everywhere=True)
        assert done.json()["selector"] == ["chain:user:1", "kind:session"]
        states = [await state(authority, each) for each in (phone, laptop, helper, key, other)]
        assert states == ["revoked", "revoked", "revoked", "active", "active"]
        again = await log_in(authority, "user:1")
        assert await state(authority, again) == "active"


async def test_a_session_of_another_subject_is_not_found_and_an_api_token_is_not_a_session(
    system: System,
) -> None:
    async with serving(system) as authority:
        mine, theirs = await log_in(authority, "user:1"), await log_in(authority, "user:2")
        key = await authority.issue("user:1", kind="personal")
        assert (await log_out(authority, mine, token_id=theirs["token_id"])).status_code == 404
        assert (await log_out(authority, mine, token_id=key["token_id"])).status_code == 404
        refused = await log_out(authority, key, everywhere=True)
        assert (refused.status_code, refused.json()["type"]) == (
            403,
            "urn:rescind:problem:not-a-session",
        )
        assert await state(authority, theirs) == "active"


async def test_an_invalid_address_is_refused_and_a_user_agent_is_sanitised(
    system: System,
) -> None:
    async with serving(system) as authority:
        body = {"subject": "user:1", "kind": "session", "address": "somewhere"}
        refused = await authority.http.post("/v1/tokens", json=body)
        assert refused.json()["errors"][0]["field"] == "address"
        odd = await log_in(authority, "user:1", user_agent="a\x1b[2J" + "x" * 600)
        (seen,) = await shown(authority, odd)
        assert seen["user_agent"].startswith("a [2Jxxx")
        assert len(seen["user_agent"]) == 512
