"""What the holder of a token may do with nothing but it: its audience, its issuer, its budget."""

import asyncio
from typing import Any

import httpx2
from tests.support.authority import Running, System, serving

EXCHANGE = {
    "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
    "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
    "scope": "x",
}


async def tried(authority: Running, token: dict[str, Any]) -> dict[str, int]:
    """Do everything that a token may be good for; what changes its own secret last."""
    name = f"{token['subject']}/x"
    async with authority.as_bearer(token["token"]) as bearer:
        form = EXCHANGE | {"subject_token": token["token"], "subject": name}
        answers = {
            "delegate": await bearer.post("/v1/delegations", json={"subject": name}),
            "exchange": await bearer.post("/oauth/token", data=form),
            "list": await bearer.get("/v1/sessions"),
            "rotate": await bearer.post("/v1/rotations", json={"overlap": 60}),
            "log out": await bearer.post("/v1/sessions/logout", json={"wait": False}),
        }
    return {what: answer.status_code for what, answer in answers.items()}


ALL = {"delegate": 201, "exchange": 200, "list": 200, "rotate": 200, "log out": 201}
NONE = {"delegate": 403, "exchange": 400, "list": 403, "rotate": 403, "log out": 403}


async def test_a_token_bound_elsewhere_has_only_rights_that_its_issuer_gave_explicitly(
    system: System,
) -> None:
    async with serving(system) as authority:
        for facts, expected in (
            ({}, ALL),
            ({"audience": ["search"]}, NONE),
            ({"audience": ["rescind", "search"]}, ALL),
            ({"verifier": {"region": "eu"}}, NONE),
            ({"self_service": []}, NONE),
            ({"self_service": ["sessions"]}, NONE | {"list": 200, "log out": 201}),
            ({"audience": ["search"], "self_service": ["rotate"]}, NONE | {"rotate": 200}),
            (
                {"verifier": {"region": "eu"}, "self_service": ["delegate"]},
                NONE | {"delegate": 201, "exchange": 200},
            ),
        ):
            token = await authority.issue("user:1", kind="session", scopes=["x"], **facts)
            assert await tried(authority, token) == expected, facts
        head = await system.rows("SELECT seq FROM ledger_head")
        refused = await authority.issue("user:1", kind="session", audience=["search"])
        await tried(authority, refused)
        assert await system.rows("SELECT seq FROM ledger_head") == head
        body = {"subject": "user:1", "kind": "session", "self_service": ["everything"]}
        assert (await authority.http.post("/v1/tokens", json=body)).status_code == 422


async def test_a_child_has_no_more_rights_than_its_parent(system: System) -> None:
    async with serving(system) as authority:
        parent = await authority.issue(
            "agent:a", audience=["search"], self_service=["delegate"], max_overlap=5
        )
        async with authority.as_bearer(parent["token"]) as bearer:

            async def child(**asked: object) -> httpx2.Response:
                return await bearer.post("/v1/delegations", json={"subject": "agent:a/b"} | asked)

            wider = await child(self_service=["delegate", "rotate"])
            assert (wider.status_code, wider.json()["errors"][0]["field"]) == (403, "self_service")
            plain, able = (await child()).json(), (await child(self_service=["delegate"])).json()
        assert (plain["self_service"], plain["max_overlap"]) == ([], 5)
        for token, status in ((plain, 403), (able, 201)):
            async with authority.as_bearer(token["token"]) as bearer:
                answer = await bearer.post("/v1/delegations", json={"subject": "agent:a/b/c"})
                assert answer.status_code == status


async def test_a_holder_cannot_relax_the_rotation_policy_of_its_issuer(system: System) -> None:
    async with serving(system) as authority:
        for facts, wish, status, revokes in (
            ({}, {"overlap": 3600}, 200, True),
            ({}, {"overlap": 3601}, 403, None),
            ({}, {"overlap": 366 * 86_400}, 403, None),
            ({}, {"on_reuse": "deny"}, 403, None),
            ({}, {"on_reuse": "revoke"}, 200, True),
            ({"max_overlap": 0}, {"overlap": 1}, 403, None),
            ({"max_overlap": 0}, {}, 200, True),
            ({"max_overlap": 86_400}, {"overlap": 86_400}, 200, True),
            ({"on_reuse": "deny"}, {}, 200, False),
            ({"on_reuse": "deny"}, {"on_reuse": "deny"}, 200, False),
            ({"on_reuse": "deny"}, {"on_reuse": "revoke"}, 200, True),
        ):
            token = await authority.issue("agent:a", **facts)
            async with authority.as_bearer(token["token"]) as bearer:
                answer = await bearer.post("/v1/rotations", json=wish)
            assert answer.status_code == status, (facts, wish, answer.text)
            found = await system.rows(
                "SELECT revokes FROM retired_secrets WHERE token_id = $1", token["token_id"]
            )
            assert [row["revokes"] for row in found] == ([] if revokes is None else [revokes])
        # An administrator with the right to issue chooses anew.
        token = await authority.issue("agent:a")
        path, body = f"/v1/tokens/{token['token_id']}/rotate", {"overlap": 9999, "on_reuse": "deny"}
        assert (await authority.http.post(path, json=body)).status_code == 200


async def test_logging_out_an_ended_session_commits_no_event(system: System) -> None:
    async with serving(system) as authority:
        mine = await authority.issue("user:1", kind="session")
        other, short, expired, exact = [
            await authority.issue("user:1", kind="session", ttl=ttl) for ttl in (60, 0.01, 60, 60)
        ]
        await authority.http.post(f"/v1/tokens/{expired['token_id']}/expire", json={})
        await authority.revoke(f"token:{exact['token_id']}", exact=True)
        async with authority.as_bearer(mine["token"]) as bearer:

            async def log_out(token: dict[str, Any], **how: object) -> httpx2.Response:
                body = {"token_id": token["token_id"], "wait": False} | how
                return await bearer.post("/v1/sessions/logout", json=body)

            first = await log_out(other)
            assert first.status_code == 201
            seqs = await system.rows("SELECT seq FROM ledger_head")
            for _ in range(3):
                again = await log_out(other)
                assert (again.status_code, again.json()) == (200, first.json())
            assert (await log_out(other, wait=True)).json()["state"] == "enforced"
            assert (await log_out(expired)).status_code == 200
            assert (await log_out(short)).status_code == 404
            assert await system.rows("SELECT seq FROM ledger_head") == seqs
            # It spared what came of the session: a logout does not, and then there is nothing left.
            assert [(await log_out(exact)).status_code for _ in range(2)] == [201, 200]


async def test_a_holder_that_changes_too_much_is_rate_limited_and_others_are_not(
    system: System,
) -> None:
    async with serving(system.but(self_service_per_s=0.5)) as authority:
        token = await authority.issue("user:1", kind="session", scopes=["x"])
        other = await authority.issue("user:2", kind="session")
        async with authority.as_bearer(token["token"]) as bearer:

            async def child() -> httpx2.Response:
                return await bearer.post("/v1/delegations", json={"subject": "user:1/a"})

            async with asyncio.TaskGroup() as tasks:
                tries = [tasks.create_task(child()) for _ in range(60)]
            refused = [each.result() for each in tries if each.result().status_code == 429]
            assert 5 <= len(refused) <= 10  # 50 at once, and one in two seconds
            assert refused[0].json()["type"] == "urn:rescind:problem:too-many-changes"
            assert 1 <= int(refused[0].headers["retry-after"]) <= 2
            form = EXCHANGE | {"subject_token": token["token"], "subject": "user:1/b"}
            exchanged = await bearer.post("/oauth/token", data=form)
            rotated = await bearer.post("/v1/rotations", json={})
            assert (exchanged.status_code, rotated.status_code) == (429, 429)
            assert exchanged.json()["error"] == "temporarily_unavailable"
            for answer in (exchanged, rotated):
                assert int(answer.headers["retry-after"]) >= 1
            assert (await bearer.get("/v1/sessions")).status_code == 200
            body = {"everywhere": True, "wait": False}
            assert (await bearer.post("/v1/sessions/logout", json=body)).status_code == 201
        async with authority.as_bearer(other["token"]) as bearer:
            assert (await bearer.post("/v1/rotations", json={})).status_code == 200
        rows = await system.rows("SELECT count(*) AS made FROM tokens WHERE chain <> '{}'")
        assert rows[0]["made"] == 60 - len(refused)
