"""The HTTP API: what each call answers, and what it refuses, in the words of a problem."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import SecretStr
from tests.support.authority import Running, System, serving
from tests.support.eventually import eventually
from tests.support.sweeping import swept

from rescind_authority.usecases.access.authoriser import ALL_SCOPES

_JSON = {"content-type": "application/json"}
_AGENT = {"subject": "agent:a", "kind": "agent"}


async def test_an_issued_token_is_shown_once_and_found_by_its_id(system: System) -> None:
    async with serving(system) as authority:
        issued = await authority.issue(scopes=["b", "a", "a"], labels={"team": "red"}, tenant="t")
        assert issued["token"].startswith("rsc_agt_")
        assert issued["scopes"] == ["a", "b"]
        looked = (await authority.http.get(f"/v1/tokens/{issued['token_id']}")).json()
        assert looked["state"] == "active"
        assert looked["holds"] == []
        assert "token" not in looked
        assert {"label:team=red", "tenant:t", "chain:agent:a"} <= set(looked["handles"])
        stored = await system.rows("SELECT t::text AS text FROM tokens AS t")
        assert not any(issued["token"] in row["text"] for row in stored)


async def test_a_revocation_is_listed_shown_and_ends_the_token(system: System) -> None:
    async with serving(system) as authority:
        issued = await authority.issue("agent:a")
        other = await authority.issue("agent:b")
        done = await authority.revoke("subject:agent:a", reason="rogue")
        assert (done["seq"], done["epoch"], done["state"]) == (1, 1, "committed")
        assert done["selector"] == ["chain:agent:a"]
        await swept(system)
        done["swept"] = {"tokens": 1, "done": True}
        assert (await authority.http.get(f"/v1/revocations/{done['id']}")).json() == done
        listed = done | dict.fromkeys(("hit", "hit_subjects", "hit_exact"))
        assert (await authority.http.get("/v1/revocations")).json()["revocations"] == [listed]
        dead = (await authority.http.get(f"/v1/tokens/{issued['token_id']}")).json()
        assert dead["state"] == "revoked"
        (hold,) = dead["holds"]
        assert hold.items() >= {"id": done["id"], "effect": "revoke", "seq": 1}.items()
        living = (await authority.http.get(f"/v1/tokens/{other['token_id']}")).json()
        assert living["state"] == "active"


async def test_a_token_can_be_revoked_by_its_secret(system: System) -> None:
    async with serving(system) as authority:
        issued = await authority.issue()
        answer = await authority.http.post("/v1/revocations", json={"token": issued["token"]})
        assert answer.json()["selector"] == [f"tree:{issued['token_id']}"]
        assert issued["token"] not in answer.text


async def test_lists_are_paged_and_filtered(system: System) -> None:
    async with serving(system) as authority:
        ids = [
            (await authority.issue(f"agent:{i % 2}", labels={"n": "1"}))["token_id"]
            for i in range(5)
        ]
        await authority.revoke("subject:agent:1", exact=True)
        await authority.issue("agent:short", ttl=0.000001)

        async def listed(**query: Any) -> list[str]:
            found: list[str] = []
            cursor: dict[str, str] = {}
            while True:
                page = (
                    await authority.http.get("/v1/tokens", params={"limit": 2, **query, **cursor})
                ).json()
                assert len(page["tokens"]) <= 2
                found += [each["token_id"] for each in page["tokens"]]
                if page["next"] is None:
                    return found
                cursor = {"cursor": page["next"]}

        assert await listed(label="n=1") == ids[::-1]
        assert await listed(subject="agent:0") == [ids[4], ids[2], ids[0]]
        assert await listed(label="n=1", state="revoked") == [ids[3], ids[1]]
        assert await listed(kind="agent", state="active") == [ids[4], ids[2], ids[0]]
        assert len(await listed(state="expired")) == 1
        assert await listed(tenant="nobody") == []


async def test_revocations_are_paged(system: System) -> None:
    async with serving(system) as authority:
        for _ in range(3):
            await authority.revoke("tenant:t")
        first = (await authority.http.get("/v1/revocations", params={"limit": 2})).json()
        rest = (
            await authority.http.get("/v1/revocations", params={"cursor": first["next"]})
        ).json()
        assert [each["seq"] for each in first["revocations"]] == [3, 2]
        assert [each["seq"] for each in rest["revocations"]] == [1]
        assert rest["next"] is None


async def test_the_event_stream_resumes_where_it_was_left(system: System) -> None:
    async with serving(system) as authority:
        for number in range(3):
            await authority.revoke(f"tenant:t{number}")
        seen = await _events(authority, 2, headers={"last-event-id": "1"})
        assert [(each["seq"], each["selector"]) for each in seen] == [
            (2, ["tenant:t1"]),
            (3, ["tenant:t2"]),
        ]
        assert {"epoch", "at", "id", "effect", "reason", "actor"} <= seen[0].keys()
        async with asyncio.TaskGroup() as tasks:
            following = tasks.create_task(_events(authority, 1, params={"since": "3"}))
            await authority.revoke("tenant:late")
            assert (await following)[0]["selector"] == ["tenant:late"]


async def test_an_open_event_stream_ends_when_the_authority_stops(system: System) -> None:
    async with serving(system) as authority:
        client = authority.as_bearer(system.settings.admin_token_path.read_text().strip())
        stream = client.stream("GET", "/v1/events")
        response = await stream.__aenter__()
    assert [line async for line in response.aiter_lines()] == []  # an end, and no broken pipe
    await stream.__aexit__(None, None, None)
    await client.aclose()


async def _events(authority: Running, count: int, **request: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    async with authority.http.stream("GET", "/v1/events", **request) as response:
        async for line in response.aiter_lines():
            if line.startswith("data: "):
                found.append(json.loads(line.removeprefix("data: ")))
            if len(found) == count:
                break
    return found


async def test_another_authority_s_events_reach_the_stream_without_nats(system: System) -> None:
    deaf = system.but(nats_url=SecretStr("nats://127.0.0.1:1"))
    async with (
        serving(system) as one,
        serving(deaf, prepare=False, connected=False) as other,
        asyncio.TaskGroup() as tasks,
    ):
        following = tasks.create_task(_events(other, 1, params={"since": "0"}))
        await one.revoke("tenant:t")
        assert (await following)[0]["seq"] == 1


_LONG = "x" * 300
_BAD_TOKENS: list[tuple[dict[str, object], str]] = [
    ({"kind": "agent"}, "subject"),
    ({"subject": "agent:a"}, "kind"),
    ({**_AGENT, "kind": "robot"}, "kind"),
    ({**_AGENT, "subject": "agent"}, "subject"),
    ({**_AGENT, "subject": "Agent:a"}, "subject"),
    ({**_AGENT, "subject": "agent:"}, "subject"),
    ({**_AGENT, "subject": "agent:https://issuer#42"}, "subject"),
    ({**_AGENT, "subject": f"agent:{_LONG}"}, "subject"),
    ({**_AGENT, "subject": "agent:a\u0000"}, "subject"),
    ({**_AGENT, "scopes": ["two words"]}, "scopes"),
    ({**_AGENT, "scopes": [""]}, "scopes"),
    ({**_AGENT, "scopes": ['quo"te']}, "scopes"),
    ({**_AGENT, "scopes": [f"s{n}" for n in range(65)]}, "scopes"),
    ({**_AGENT, "scopes": "x"}, "scopes"),
    ({**_AGENT, "audience": [" "]}, "audience"),
    ({**_AGENT, "audience": [_LONG]}, "audience"),
    ({**_AGENT, "ttl": 0}, "ttl"),
    ({**_AGENT, "ttl": -1}, "ttl"),
    ({**_AGENT, "ttl": 400 * 24 * 3600}, "ttl"),
    ({**_AGENT, "ttl": "soon"}, "ttl"),
    ({**_AGENT, "labels": {f"k{n}": "v" for n in range(33)}}, "labels"),
    ({**_AGENT, "labels": {"a=b": "v"}}, "labels.a=b"),
    ({**_AGENT, "labels": {"": "v"}}, "labels."),
    ({**_AGENT, "labels": {"k": _LONG}}, "labels.k"),
    ({**_AGENT, "tenant": ""}, "tenant"),
    ({**_AGENT, "tenant": "a\nb"}, "tenant"),
    ({**_AGENT, "not_before": "2026-01-01T00:00:00"}, "not_before"),
    ({**_AGENT, "not_before": "2999-01-01T00:00:00Z"}, "not_before"),
    ({**_AGENT, "expiry": 5}, "expiry"),
    ({**_AGENT, "may_speak_for": ["agent*"]}, "may_speak_for"),
    ({**_AGENT, "max_depth": 17}, "max_depth"),
    ({**_AGENT, "parent": "-"}, "parent"),
]
_BAD_REVOCATIONS: list[tuple[dict[str, object], str]] = [
    ({}, "selector"),
    ({"selector": []}, "selector"),
    ({"selector": ["tenant:t"], "token": "x"}, "selector"),
    ({"selector": ["agent:a"]}, "selector"),
    ({"selector": ["tenant:"]}, "selector"),
    ({"selector": ["label:k"]}, "selector"),
    ({"selector": [f"label:k{n}=v" for n in range(9)]}, "selector"),
    ({"selector": "tenant:t"}, "selector"),
    ({"token": "rsc_agt_nonsense"}, "token"),
    ({"selector": ["tenant:t"], "reason": "x" * 513}, "reason"),
    ({"selector": ["tenant:t"], "reason": "\ud800"}, "reason"),
    ({"selector": ["tenant:t"], "issued_before": "yesterday"}, "issued_before"),
    ({"selector": ["tenant:t"], "issued_before": "1969-01-01T00:00:00Z"}, "issued_before"),
    ({"selector": ["tenant:t"], "effect": "maim"}, "effect"),
    ({"selector": ["tenant:t"], "effect": "narrow"}, "scopes"),
    ({"selector": ["tenant:t"], "effect": "narrow", "scopes": ["a*b"]}, "scopes"),
    ({"selector": ["tenant:t"], "effect": "suspend", "scopes": ["x"]}, "scopes"),
    ({"selector": ["tenant:t"], "effect": "suspend", "until": "tomorrow"}, "until"),
    ({"selector": ["tenant:t"], "effect": "kill"}, "selector"),
    ({"selector": ["chain:agent:a", "tenant:t"], "effect": "kill"}, "selector"),
    ({"selector": ["subject:agent:a"], "effect": "kill", "exact": True}, "selector"),
    ({"selector": ["chain:agent:a"], "effect": "kill", "issued_before": 1}, "issued_before"),
    ({"selector": ["tenant:t"], "effect": "lift"}, "effect"),
    ({"selector": ["tenant:t"], "wait": "soon"}, "wait"),
    ({"selector": ["tenant:t"], "wait": True, "timeout": 0}, "timeout"),
    ({"selector": ["tenant:t"], "wait": True, "timeout": 601}, "timeout"),
    ({"selector": ["tenant:t"], "dry_run": "perhaps"}, "dry_run"),
    ({"selector": ["tenant:t"], "preview": 7}, "preview"),
    ({"selector": ["tenant:t"], "until": "2999-01-01T00:00:00Z"}, "until"),
    ({"selector": ["tenant:t"], "scopes": ["x"]}, "scopes"),
    ({"selector": ["tenant:t"], "force": True}, "force"),
]


async def test_a_bad_request_gets_a_problem_that_names_the_field(system: System) -> None:
    async with serving(system) as authority:
        for path, table in (("/v1/tokens", _BAD_TOKENS), ("/v1/revocations", _BAD_REVOCATIONS)):
            for body, field in table:
                answer = await authority.http.post(path, content=json.dumps(body), headers=_JSON)
                where = f"{path} {body}: {answer.text}"
                assert answer.status_code == 422, where
                assert answer.headers["content-type"] == "application/problem+json", where
                problem = answer.json()
                assert problem["type"].startswith("urn:rescind:problem:"), where
                assert {"title", "status", "detail"} <= problem.keys(), where
                assert field in [error["field"] for error in problem["errors"]], where
        assert await system.rows("SELECT FROM events") == []
        assert len(await system.rows("SELECT FROM tokens")) == 1  # the admin's own


async def test_all_invalid_fields_are_reported_at_once(system: System) -> None:
    async with serving(system) as authority:
        body = {**_AGENT, "subject": "x", "ttl": 0, "scopes": [" "], "tenant": ""}
        errors = (await authority.http.post("/v1/tokens", json=body)).json()["errors"]
        assert {error["field"] for error in errors} == {"subject", "ttl", "scopes", "tenant"}


@pytest.mark.parametrize(
    ("method", "path", "content", "expected"),
    [
        ("GET", "/v1/nothing", None, (404, "not-found")),
        ("GET", "/v1/tokens/tok_01", None, (404, "not-found")),
        ("GET", "/v1/tokens/tok_00000000000000000000000000", None, (404, "not-found")),
        ("GET", "/v1/tokens/%00", None, (404, "not-found")),
        ("GET", "/v1/revocations/rev_00000000000000000000000000", None, (404, "not-found")),
        ("DELETE", "/v1/tokens", None, (405, "method-not-allowed")),
        ("POST", "/v1/tokens", b"{", (422, "invalid-request")),
        ("POST", "/v1/tokens", b"[]", (422, "invalid-request")),
        ("POST", "/v1/tokens", b"\xff", (400, "bad-request")),
        ("POST", "/v1/tokens", b"[" * 100_000, (400, "bad-request")),
        ("POST", "/v1/tokens", b" " * 1_100_000, (413, "body-too-large")),
        ("GET", "/v1/tokens?limit=0", None, (422, "invalid-request")),
        ("GET", "/v1/tokens?limit=201", None, (422, "invalid-request")),
        ("GET", "/v1/tokens?cursor=x", None, (422, "invalid-request")),
        ("GET", "/v1/tokens?label=k", None, (422, "invalid-request")),
        ("GET", "/v1/tokens?owner=me", None, (422, "invalid-request")),
        ("GET", "/v1/revocations?cursor=9223372036854775808", None, (422, "invalid-request")),
        ("GET", "/v1/revocations?standng=true", None, (422, "invalid-request")),
        ("GET", "/v1/revocations?handle=tenant:t", None, (422, "invalid-request")),
        ("GET", "/v1/revocations?standing=true&handle=tenant", None, (422, "invalid-request")),
        ("GET", "/v1/events?since=-1", None, (422, "invalid-request")),
    ],
)
async def test_every_refusal_is_a_problem_document(
    system: System, method: str, path: str, content: bytes | None, expected: tuple[int, str]
) -> None:
    async with serving(system) as authority:
        answer = await authority.http.request(method, path, content=content, headers=_JSON)
        status, kind = expected
        assert answer.status_code == status
        assert answer.json()["type"] == f"urn:rescind:problem:{kind}"
        assert answer.headers["content-type"] == "application/problem+json"


async def test_a_body_without_a_length_is_bounded_too(system: System) -> None:
    async def chunks() -> Any:
        for _ in range(150):
            yield b" " * 10_000

    async with serving(system) as authority:
        answer = await authority.http.post("/v1/tokens", content=chunks(), headers=_JSON)
        assert answer.status_code == 413
        assert answer.json()["type"] == "urn:rescind:problem:body-too-large"


async def test_openapi_describes_every_route_without_a_token(system: System) -> None:
    async with serving(system) as authority, authority.as_bearer(None) as anybody:
        document = (await anybody.get("/openapi.json")).json()
        assert {
            "/v1/tokens",
            "/v1/tokens/look",
            "/v1/tokens/count",
            "/v1/tokens/{token_id}",
            "/v1/tokens/expire",
            "/v1/tokens/{token_id}/rotate",
            "/v1/tokens/{token_id}/expire",
            "/v1/rotations",
            "/v1/sessions",
            "/v1/sessions/logout",
            "/v1/tokens/{token_id}/tree",
            "/v1/tokens/{token_id}/children",
            "/v1/delegations",
            "/oauth/token",
            "/oauth/introspect",
            "/oauth/revoke",
            "/oauth/authorize",
            "/v1/clients",
            "/v1/clients/{client_id}",
            "/v1/clients/{client_id}/rotate",
            "/v1/clients/{client_id}/remove",
            "/.well-known/oauth-authorization-server",
            "/v1/revocations",
            "/v1/revocations/batch",
            "/v1/revocations/{revocation_id}",
            "/v1/revocations/{revocation_id}/receipt",
            "/v1/revocations/{revocation_id}/lift",
            "/v1/fleet",
            "/v1/fleet/{instance}/evict",
            "/v1/term",
            "/v1/events",
            "/healthz",
            "/readyz",
            "/metrics",
        } == set(document["paths"])
        assert all(
            operation["summary"]
            for path in document["paths"].values()
            for operation in path.values()
        )


async def test_health_and_metrics_are_open(system: System) -> None:
    async with serving(system) as authority, authority.as_bearer(None) as anybody:
        assert (await anybody.get("/healthz")).json() == {"status": "ok"}
        ready = (await anybody.get("/readyz")).json()
        assert ready.items() >= {"status": "ready", "postgres": "ok", "nats": "ok"}.items()
        await authority.revoke("tenant:t")
        assert await authority.metric("rescind_authority_head_seq") == 1
        assert await authority.metric("rescind_authority_batch_events_sum") == 1
        assert await authority.metric("rescind_authority_nats_connected") == 1
        assert await authority.metric("rescind_authority_unannounced_batches_total") == 0


_ENDPOINTS: list[tuple[str, str, dict[str, object] | None, str, int]] = [
    ("POST", "/v1/tokens", {**_AGENT}, "rescind:issue", 201),
    ("GET", "/v1/tokens", None, "rescind:read", 200),
    ("GET", "/v1/tokens/count", None, "rescind:read", 200),
    ("GET", "/v1/tokens/tok_x", None, "rescind:read", 404),
    ("POST", "/v1/revocations", {"selector": ["tenant:t"]}, "rescind:revoke", 201),
    ("POST", "/v1/revocations/rev_x/lift", {}, "rescind:lift", 404),
    ("GET", "/v1/revocations", None, "rescind:read", 200),
    ("GET", "/v1/revocations/rev_x", None, "rescind:read", 404),
    ("GET", "/v1/fleet", None, "rescind:read", 200),
    ("GET", "/v1/events?since=x", None, "rescind:read", 422),
]


async def test_each_operation_admits_only_tokens_with_its_scope(system: System) -> None:
    """Endpoint by endpoint: no token, garbage, other kinds, and every single scope."""
    async with serving(system) as authority:
        agent = await authority.issue(scopes=list(ALL_SCOPES), audience=["rescind"])
        admins = {
            scope: (await authority.issue("admin:one", kind="admin", scopes=[scope]))["token"]
            for scope in ALL_SCOPES
        }
        elsewhere = await authority.issue("admin:two", kind="admin", audience=["search"])
        refused = [None, "x", "rsc_adm_" + "0" * 60, agent["token"], elsewhere["token"]]
        for method, path, body, needed, status in _ENDPOINTS:
            for token in refused:
                answer = await _call(authority, token, method, path, body)
                assert answer.status_code == 401, (path, answer.text)
                code = None if token is None else 'error="invalid_token"'
                challenge = answer.headers["www-authenticate"]
                assert challenge.startswith("Bearer")
                assert (code in challenge) if code else ("error" not in challenge)
            for scope, token in admins.items():
                answer = await _call(authority, token, method, path, body)
                if scope == needed:
                    assert answer.status_code == status, (path, scope, answer.text)
                else:
                    assert answer.status_code == 403, (path, scope, answer.text)
                    challenge = answer.headers["www-authenticate"]
                    assert f'error="insufficient_scope", scope="{needed}"' in challenge


async def _call(
    authority: Running, token: str | None, method: str, path: str, body: Mapping[str, object] | None
) -> Any:
    async with authority.as_bearer(token) as client:
        return await client.request(method, path, json=body)


async def test_a_revoked_admin_token_is_refused_at_the_next_call(system: System) -> None:
    async with serving(system) as authority:
        made = await authority.issue("admin:temp", kind="admin", scopes=["rescind:read"])
        async with authority.as_bearer(made["token"]) as client:
            assert (await client.get("/v1/fleet")).status_code == 200
            await authority.revoke(f"token:{made['token_id']}")
            answer = await client.get("/v1/fleet")
            assert answer.status_code == 401
            assert "revoked" in answer.json()["detail"]


async def test_only_the_admin_scope_issues_admin_tokens_with_no_more_scopes_than_its_holder_has(
    system: System,
) -> None:
    async with serving(system) as authority:
        issuer = await authority.issue("admin:i", kind="admin", scopes=["rescind:issue"])
        limited = await authority.issue(
            "admin:l", kind="admin", scopes=["rescind:issue", "rescind:admin"]
        )
        wish = {"subject": "admin:new", "kind": "admin", "scopes": ["rescind:issue"]}
        assert (
            await _call(authority, issuer["token"], "POST", "/v1/tokens", wish)
        ).status_code == 403
        assert (
            await _call(authority, limited["token"], "POST", "/v1/tokens", wish)
        ).status_code == 201
        wider = {**wish, "scopes": ["rescind:revoke"]}
        answer = await _call(authority, limited["token"], "POST", "/v1/tokens", wider)
        assert answer.status_code == 403
        assert "rescind:revoke" in answer.json()["detail"]


async def test_only_the_admin_scope_revokes_admin_tokens(system: System) -> None:
    async with serving(system) as authority:
        revoker = await authority.issue("admin:r", kind="admin", scopes=["rescind:revoke"])

        async def revokes(*selector: str) -> int:
            body = {"selector": list(selector)}
            answer = await _call(authority, revoker["token"], "POST", "/v1/revocations", body)
            return int(answer.status_code)

        assert await revokes("kind:admin") == 403
        assert await revokes("subject:admin:root") == 403
        assert await revokes(f"token:{revoker['token_id']}") == 403
        assert await revokes("*") == 201  # it spares admins
        assert await revokes("subject:agent:a") == 201
        assert await revokes("*", "kind:admin") == 403
        assert (await authority.http.get("/v1/fleet")).status_code == 200


async def test_the_api_reports_that_postgres_is_unavailable(system: System) -> None:
    async with serving(system) as authority:
        issued = await authority.issue()
        async with system.sidecar() as sidecar:
            assert await sidecar.beat() is not None
            await system.shut()
            ready = await authority.http.get("/readyz")
            assert (ready.status_code, ready.json()["status"]) == (503, "unavailable")
            answer = await authority.http.post("/v1/tokens", json=_AGENT)
            assert answer.status_code == 503
            assert answer.json()["type"] == "urn:rescind:problem:store-unavailable"
            assert answer.headers["retry-after"]
            # Over NATS an empty reply, at once, in place of a timeout.
            assert await sidecar.beat() is None
            await system.open()
            assert await eventually(sidecar.beat) is not None
            assert (await sidecar.resolve(issued["token"]))[1] is not None
