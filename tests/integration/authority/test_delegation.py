"""Delegation over HTTP: what a holder may hand on, and what is refused in which words."""

import time
from typing import Any

import httpx2
import pytest
from tests.support.authority import Running, System, serving

from rescind.core import token_format
from rescind.core.conditions import Conditions
from rescind.core.token_format import Kind
from rescind_authority.keys.edge_keys import EdgeKeyFile

ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"


async def delegate(
    authority: Running, parent: str | None, *, key: str | None = None, **asked: Any
) -> httpx2.Response:
    headers = {} if key is None else {"idempotency-key": key}
    async with authority.as_bearer(parent) as client:
        return await client.post("/v1/delegations", json=asked, headers=headers)


async def child_of(
    authority: Running, parent: dict[str, Any], name: str = "a", **asked: Any
) -> Any:
    answer = await delegate(
        authority, parent["token"], subject=f"{parent['subject']}/{name}", **asked
    )
    assert answer.status_code == httpx2.codes.CREATED, answer.text
    return answer.json()


async def test_a_child_has_the_requested_grant_and_the_handles_of_its_parent(
    system: System,
) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        parent = await authority.issue(
            "agent:o",
            scopes=["tools:*"],
            audience=["search"],
            tenant="t",
            labels={"team": "red"},
            self_service=["delegate"],
        )
        child = await child_of(
            authority,
            parent,
            scopes=["tools:call"],
            labels={"step": "1"},
            max_depth=1,
            self_service=["delegate"],
        )
        grandchild = await child_of(authority, child, "b")
        _, record = await sidecar.resolve(grandchild["token"])
        assert record is not None
        assert record.live
        assert record.lineage == (parent["token_id"], child["token_id"])
        assert record.chain == ("agent:o", "agent:o/a")
        assert (record.scopes, record.audience) == (frozenset[str](), frozenset({"search"}))
        assert (record.kind, record.tenant) == ("agent", "t")
        assert record.labels == (("step", "1"), ("team", "red"))
        expected = {f"tree:{each['token_id']}" for each in (parent, child, grandchild)}
        expected |= {"chain:agent:o", "chain:agent:o/a", "chain:agent:o/a/b", "label:step=1"}
        expected |= {"tenant:t", "kind:agent", "label:team=red", "subject:agent:o/a/b"}
        assert expected < set(record.handles)
        assert f"token:{child['token_id']}" not in record.handles
        assert "subject:agent:o/a" not in record.handles
        assert child["scopes"] == ["tools:call"]
        assert (child["max_depth"], grandchild["max_depth"]) == (1, 0)
        answer = await delegate(authority, grandchild["token"], subject="agent:o/a/b/c")
        assert answer.status_code == 403
        assert answer.json()["errors"][0]["field"] == "parent"


async def test_a_child_ends_with_its_parent_at_the_latest(system: System) -> None:
    async with serving(system) as authority:
        parent = await authority.issue("agent:o", ttl=60)
        assert (await child_of(authority, parent))["expires_at"] == parent["expires_at"]
        assert (await child_of(authority, parent, ttl=5))["expires_at"] < parent["expires_at"]
        answer = await delegate(authority, parent["token"], subject="agent:o/a", ttl=61)
        assert answer.status_code == 403
        assert answer.json()["errors"][0]["field"] == "ttl"


async def test_each_field_that_exceeds_the_parent_is_refused(system: System) -> None:
    async with serving(system) as authority:
        parent = await authority.issue(
            "agent:o", scopes=["a"], audience=["search"], self_service=["delegate"]
        )
        answer = await delegate(
            authority, parent["token"], subject="user:1", scopes=["a", "b"], audience=["mail"]
        )
        assert answer.status_code == 403
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert problem["type"] == "urn:rescind:problem:beyond-parent"
        assert {each["field"] for each in problem["errors"]} == {"subject", "scopes", "audience"}
        assert len(await system.rows("SELECT FROM tokens")) == 2  # the admin's and the parent
        assert await system.rows("SELECT FROM audit WHERE action = 'delegate'") == []


async def test_the_subjects_that_a_child_may_speak_for_are_limited_by_its_parent(
    system: System,
) -> None:
    async with serving(system) as authority:
        parent = await authority.issue("agent:o", may_speak_for=["user:*"])
        answer = await delegate(
            authority, parent["token"], subject="user:42", may_speak_for=["user:42"]
        )
        assert answer.status_code == 201, answer.text
        assert answer.json()["may_speak_for"] == ["user:42"]
        wider = await delegate(
            authority, answer.json()["token"], subject="user:42/x", may_speak_for=["user:4*"]
        )
        assert wider.status_code == 422
        wider = await delegate(
            authority, answer.json()["token"], subject="user:42/x", may_speak_for=["user:*"]
        )
        assert wider.status_code == 403


@pytest.mark.parametrize("patterns", [["agent"], ["a*"], ["agent:*x"], ["user:1#2"], ["u:"]])
async def test_a_bad_pattern_is_refused(system: System, patterns: list[str]) -> None:
    async with serving(system) as authority:
        body = {"subject": "agent:o", "kind": "agent", "may_speak_for": patterns}
        answer = await authority.http.post("/v1/tokens", json=body)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == "may_speak_for"


async def test_a_dead_parent_cannot_delegate(system: System) -> None:
    async with serving(system) as authority:
        root = await authority.issue("agent:o")
        middle = await child_of(authority, root)
        expired = await authority.issue("agent:o", ttl=0.000001)
        early = await authority.issue("agent:o", not_before=time.time() + 600)
        await authority.revoke(f"tree:{root['token_id']}")
        for token, reason in (
            (root["token"], "revoked"),
            (middle["token"], "revoked"),
            (expired["token"], "expired"),
            (early["token"], "not_yet_valid"),
            (None, "send the parent token"),
            ("nonsense", "token"),
            ("rsc_agt_" + "0" * 60, "token"),
        ):
            answer = await delegate(authority, token, subject="agent:o/a")
            assert answer.status_code == 401, answer.text
            assert reason in answer.json()["detail"]
            assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_a_cutoff_that_ends_a_parent_ends_children_that_it_delegated_later(
    system: System,
) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        root = await authority.issue("agent:o")
        old = await child_of(authority, root, "a")
        young = await child_of(authority, old, "b")
        other = await child_of(authority, root, "a")  # the same subject, after the cutoff
        await authority.revoke("chain:agent:o/a", issued_before=young["issued_at"])
        for issued, lives in ((root, True), (old, False), (young, False), (other, True)):
            _, record = await sidecar.resolve(issued["token"])
            assert record is not None
            assert record.live is lives
            shown = (await authority.http.get(f"/v1/tokens/{issued['token_id']}")).json()
            assert (shown["state"] == "active") is lives


async def test_a_lineage_has_at_most_sixteen_ancestors(system: System) -> None:
    async with serving(system) as authority:
        token = await authority.issue("agent:o")
        for _ in range(16):
            token = await child_of(authority, token)
        assert len(token["lineage"]) == 16
        answer = await delegate(authority, token["token"], subject=f"{token['subject']}/a")
        assert answer.status_code == 403
        assert answer.json()["errors"][0]["field"] == "parent"


async def test_a_forged_parent_is_refused_without_a_look_up(system: System) -> None:
    async with serving(system) as authority:
        edge_key = EdgeKeyFile.read(system.settings.edge_keys_path).keys[0].key

        async def look_ups_after_asking_with(key: bytes) -> float:
            token = token_format.mint(kind=Kind.AGENT, random=bytes(32), edge_key=key).reveal()
            for answer in (
                await delegate(authority, token, subject="agent:o/a"),
                await exchange(authority, subject_token=token),
            ):
                assert answer.status_code in {400, 401}
                assert "unknown" in answer.text
            return await authority.metric('rescind_authority_resolves_total{outcome="unknown"}')

        assert await look_ups_after_asking_with(edge_key) == 2
        assert await look_ups_after_asking_with(b"not ours" * 4) == 2


async def test_an_admin_token_is_not_delegated(system: System) -> None:
    async with serving(system) as authority:
        answer = await authority.http.post("/v1/delegations", json={"subject": "agent:a"})
        assert answer.status_code == 403
        assert answer.json()["errors"][0]["field"] == "parent"


async def test_a_repeated_delegation_makes_no_second_child_and_a_key_belongs_to_one_parent(
    system: System,
) -> None:
    async with serving(system) as authority:
        one, other = await authority.issue("agent:o"), await authority.issue("agent:o")
        first = await delegate(authority, one["token"], key="k", subject="agent:o/a")
        again = await delegate(authority, one["token"], key="k", subject="agent:o/a")
        assert (first.status_code, again.status_code) == (201, 200)
        assert again.json() == {**first.json(), "token": None}
        changed = await delegate(authority, one["token"], key="k", subject="agent:o/b")
        assert changed.status_code == 422
        elsewhere = await delegate(authority, other["token"], key="k", subject="agent:o/a")
        assert elsewhere.status_code == 201
        assert elsewhere.json()["lineage"] == [other["token_id"]]


async def test_a_delegation_is_in_the_audit_with_its_lineage_and_without_its_secret(
    system: System,
) -> None:
    async with serving(system) as authority:
        parent = await authority.issue("agent:o")
        child = await child_of(authority, parent)
        (entry,) = await system.rows(
            "SELECT *, a::text AS text FROM audit AS a ORDER BY at DESC LIMIT 1"
        )
        assert entry["action"] == "delegate"
        assert entry["actor"] == f"agent:o {parent['token_id']}"
        assert entry["target"] == child["token_id"]
        assert parent["token_id"] in entry["text"]
        assert child["token"] not in entry["text"]


async def test_no_child_is_issued_for_a_subject_that_is_suspended(
    system: System,
) -> None:
    async with serving(system) as authority:
        parent = await authority.issue("agent:o")
        suspended = await _suspend(authority, "chain:agent:o/a")
        answer = await delegate(authority, parent["token"], subject="agent:o/a")
        assert answer.status_code == 409
        assert answer.json()["type"] == "urn:rescind:problem:held"
        assert (await delegate(authority, parent["token"], subject="agent:o/b")).status_code == 201
        await _suspend(authority, "chain:agent:s")
        issue = {"subject": "agent:s", "kind": "agent"}
        assert (await authority.http.post("/v1/tokens", json=issue)).status_code == 409
        lifted = await authority.http.post(f"/v1/revocations/{suspended['id']}/lift", json={})
        assert lifted.is_success, lifted.text
        assert (await delegate(authority, parent["token"], subject="agent:o/a")).status_code == 201


async def test_a_suspended_parent_cannot_delegate_until_the_lift(system: System) -> None:
    async with serving(system) as authority:
        parent = await authority.issue("agent:o")
        await _suspend(authority, f"tree:{parent['token_id']}")
        answer = await delegate(authority, parent["token"], subject="agent:o/a")
        assert answer.status_code == 401
        assert "suspended" in answer.json()["detail"]


async def test_a_narrowed_parent_cannot_delegate_removed_scopes(system: System) -> None:
    async with serving(system) as authority:
        parent = await authority.issue("agent:o", scopes=["tools:*"])
        await _suspend(
            authority, f"token:{parent['token_id']}", effect="narrow", scopes=["tools:x"]
        )
        answer = await delegate(
            authority, parent["token"], subject="agent:o/a", scopes=["tools:x", "tools:y"]
        )
        assert answer.status_code == 403
        (error,) = answer.json()["errors"]
        assert "tools:x" in error["detail"]


async def _suspend(
    authority: Running, handle: str, *, effect: str = "suspend", **more: object
) -> dict[str, Any]:
    return await authority.revoke(handle, effect=effect, exact=True, **more)


async def exchange(authority: Running, **form: Any) -> httpx2.Response:
    fields = {
        "grant_type": EXCHANGE,
        "subject_token_type": ACCESS_TOKEN,
        "subject": "agent:o/a",
        "scope": "a",
    }
    sent = {name: text for name, text in {**fields, **form}.items() if text is not None}
    async with authority.as_bearer(None) as client:
        return await client.post("/oauth/token", data=sent)


async def test_a_token_exchange_delegates(system: System) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        parent = await authority.issue(
            "agent:o", scopes=["a", "b"], audience=["x", "y", "z"], self_service=["delegate"]
        )
        answer = await exchange(
            authority, subject_token=parent["token"], audience=["x", "y"], scope="b a", ttl="60"
        )
        assert answer.status_code == 200, answer.text
        assert answer.headers["cache-control"] == "no-store"
        granted = answer.json()
        assert granted["issued_token_type"] == ACCESS_TOKEN
        assert (granted["token_type"], granted["expires_in"]) == ("Bearer", 60)
        assert granted["scope"] == "a b"
        _, record = await sidecar.resolve(granted["access_token"])
        assert record is not None
        assert (record.token_id, record.chain) == (granted["token_id"], ("agent:o",))
        assert record.audience == {"x", "y"}


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"grant_type": None}, "invalid_request"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"subject_token": None}, "invalid_request"),
        ({"subject_token": "rsc_agt_nonsense"}, "invalid_request"),
        ({"subject_token_type": "jwt"}, "invalid_request"),
        ({"subject_token_type": None}, "invalid_request"),
        ({"requested_token_type": "jwt"}, "invalid_request"),
        ({"actor_token": "x"}, "invalid_request"),
        ({"resource": "https://search"}, "invalid_target"),
        ({"audience": "mail"}, "invalid_target"),
        ({"scope": "b"}, "invalid_scope"),
        ({"scope": 'quo"te'}, "invalid_scope"),
        ({"subject": "agent:other"}, "invalid_request"),
        ({"subject": ["agent:o/a", "agent:o/b"]}, "invalid_request"),
        ({"ttl": "soon"}, "invalid_request"),
        ({"ttl": "0"}, "invalid_request"),
        ({"max_depth": "-1"}, "invalid_request"),
        ({"max_depth": "17"}, "invalid_request"),
    ],
)
async def test_a_bad_token_exchange_is_refused_with_an_oauth_error(
    system: System, form: dict[str, Any], error: str
) -> None:
    async with serving(system) as authority:
        parent = await authority.issue(
            "agent:o", scopes=["a"], audience=["search"], self_service=["delegate"]
        )
        answer = await exchange(authority, **{"subject_token": parent["token"], **form})
        assert answer.status_code == 400
        assert answer.json()["error"] == error
        description = answer.json()["error_description"]
        assert description
        assert description.isascii()
        assert not set(description) & {'"', "\\"}
        assert parent["token"] not in answer.text
        assert len(await system.rows("SELECT FROM tokens")) == 2


async def test_a_repeated_exchange_names_the_token_that_was_made(system: System) -> None:
    async with serving(system) as authority, authority.as_bearer(None) as client:
        parent = await authority.issue("agent:o", scopes=["a"])
        form = {
            "grant_type": EXCHANGE,
            "subject_token": parent["token"],
            "subject_token_type": ACCESS_TOKEN,
            "subject": "agent:o/a",
            "scope": "a",
        }
        key = {"idempotency-key": "k"}
        first = (await client.post("/oauth/token", data=form, headers=key)).json()
        again = await client.post("/oauth/token", data=form, headers=key)
        assert again.status_code == 400
        assert first["token_id"] in again.json()["error_description"]
        assert "access_token" not in again.json()


_ADMIN: dict[str, Any] = {
    "subject": "admin:b",
    "kind": "admin",
    "scopes": ["rescind:read"],
}
_PARENT: dict[str, Any] = {"subject": "agent:a", "scopes": ["x"]}


async def test_the_oauth_metadata_is_at_the_path_of_rfc_8414(system: System) -> None:
    async with serving(system) as authority, authority.as_bearer(None) as anybody:
        found = (await anybody.get("/.well-known/oauth-authorization-server")).json()
        assert found["issuer"] == authority.url
        assert found["token_endpoint"] == f"{authority.url}/oauth/token"
        assert EXCHANGE in found["grant_types_supported"]
        # Neither does a request say what the issuer is, nor who forwards it.
        lies = {"host": "evil.example", "x-forwarded-host": "evil.example"}
        lies |= {"x-forwarded-proto": "https", "forwarded": "host=evil.example;proto=https"}
        told = await anybody.get("/.well-known/oauth-authorization-server", headers=lies)
        assert told.json() == found
        # Nor is a URL made of it anywhere else.
        slashed = await anybody.get("/v1/tokens/", headers=lies, follow_redirects=False)
        assert slashed.status_code in {401, 404}
        assert "evil.example" not in f"{slashed.headers} {slashed.text}"


async def test_the_issuer_is_a_setting(system: System) -> None:
    system = system.but(issuer="https://auth.example", trusted_proxies="127.0.0.1")
    async with serving(system) as authority, authority.as_bearer(None) as anybody:
        lies = {"host": "evil.example", "x-forwarded-host": "evil.example"}
        path = "/.well-known/oauth-authorization-server"
        found = (await anybody.get(path, headers=lies)).json()
        assert found["issuer"] == "https://auth.example"
        assert found["token_endpoint"] == "https://auth.example/oauth/token"


async def test_an_authority_that_listens_on_every_address_has_no_default_issuer(
    system: System,
) -> None:
    async with serving(system.but(http="0.0.0.0:0")) as authority:
        found = await authority.http.get("/.well-known/oauth-authorization-server")
        assert found.status_code == 404
        assert "RESCIND_ISSUER" in found.json()["detail"]


BOUND: dict[str, Any] = {"addresses": ["10.9.0.0/16"]}
FORWARDED: tuple[dict[str, str], ...] = (
    {},
    {"x-forwarded-for": "10.9.1.1"},
    {"x-real-ip": "10.9.1.1", "forwarded": "for=10.9.1.1", "x-client-ip": "10.9.1.1"},
)


async def test_without_trusted_proxies_forwarded_headers_do_not_change_the_callers_address(
    system: System,
) -> None:
    async with serving(system) as authority:
        for facts, path in ((_ADMIN, "/v1/fleet"), (_PARENT, "/v1/delegations")):
            bound = await authority.issue(**facts, **BOUND)
            async with authority.as_bearer(bound["token"]) as bearer:
                for headers in FORWARDED:
                    method = "GET" if path == "/v1/fleet" else "POST"
                    body = None if method == "GET" else {"subject": "agent:a/b"}
                    answer = await bearer.request(method, path, json=body, headers=headers)
                    assert answer.status_code == 401, (path, headers)


async def test_behind_a_trusted_proxy_the_callers_address_is_the_one_that_called_the_proxy(
    system: System,
) -> None:
    system = system.but(trusted_proxies="127.0.0.1")
    async with serving(system) as authority:
        bound = await authority.issue(**_PARENT, **BOUND)
        anywhere = await authority.issue(**_PARENT, addresses=["127.0.0.0/8"])
        for token, forwarded, status in (
            (bound, "10.9.1.1", 201),
            (bound, "192.0.2.1, 10.9.1.2", 201),
            (bound, "10.9.1.1, 192.0.2.1", 401),  # the caller wrote the first one
            (bound, "10.9.1.1, x", 401),
            (bound, None, 401),
            (anywhere, None, 401),  # the proxy's own address is not its caller's
            (anywhere, "10.9.1.1", 401),
        ):
            headers = {} if forwarded is None else {"x-forwarded-for": forwarded}
            async with authority.as_bearer(token["token"]) as bearer:
                body = {"subject": "agent:a/b"}
                answer = await bearer.post("/v1/delegations", json=body, headers=headers)
            assert answer.status_code == status, (forwarded, answer.text)


async def test_conditions_are_stored_and_no_child_has_weaker_ones(system: System) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        parent = await authority.issue(
            "agent:a",
            addresses=["127.0.0.0/8", "10.0.0.0/8"],
            verifier={"region": "eu"},
            self_service=["delegate"],
        )
        assert parent["addresses"] == ["10.0.0.0/8", "127.0.0.0/8"]
        async with authority.as_bearer(parent["token"]) as bearer:
            body = {"subject": "agent:a/b", "addresses": ["10.1.0.0/16"]}
            child = (await bearer.post("/v1/delegations", json=body)).json()
            wider = await bearer.post("/v1/delegations", json=body | {"addresses": ["11.0.0.0/8"]})
        assert (child["addresses"], child["verifier"]) == (["10.1.0.0/16"], {"region": "eu"})
        assert (wider.status_code, wider.json()["errors"][0]["field"]) == (403, "addresses")
        _, record = await sidecar.resolve(child["token"])
        assert record is not None
        assert record.conditions == Conditions(("10.1.0.0/16",), (("region", "eu"),))
        async with authority.as_bearer(child["token"]) as bearer:  # it calls from 127.0.0.1
            refused = await bearer.post("/v1/delegations", json={"subject": "agent:a/b/c"})
            assert refused.status_code == 401
            assert "wrong_address" in refused.json()["detail"]


async def test_an_admin_token_bound_to_another_network_is_refused(
    system: System,
) -> None:
    async with serving(system) as authority:
        facts = {"kind": "admin", "scopes": ["rescind:read"]}
        here = await authority.issue("admin:h", addresses=["127.0.0.1/32"], **facts)
        there = await authority.issue("admin:t", addresses=["192.0.2.0/24"], **facts)
        for admin, status in ((here, 200), (there, 401)):
            async with authority.as_bearer(admin["token"]) as bearer:
                assert (await bearer.get("/v1/fleet")).status_code == status


@pytest.mark.parametrize(
    ("facts", "field"),
    [
        ({"addresses": ["10.0.0.1/8"]}, "addresses"),
        ({"addresses": ["somewhere"]}, "addresses"),
        ({"addresses": [f"10.{n}.0.0/16" for n in range(17)]}, "addresses"),
        ({"verifier": {"": "x"}}, "verifier."),
        ({"verifier": {"a": "b,c"}}, "verifier.a"),
    ],
)
async def test_a_bad_condition_is_refused(
    system: System, facts: dict[str, Any], field: str
) -> None:
    async with serving(system) as authority:
        body = {"subject": "agent:a", "kind": "agent", **facts}
        answer = await authority.http.post("/v1/tokens", json=body)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == field


async def test_the_names_of_a_token_are_bounded_in_bytes(system: System) -> None:
    # Each verifier keeps them: fat records made gigabytes of what was promised as 250 MB.
    fits = {f"label-{number:02}": "v" * 110 for number in range(30)}
    wide = {f"label-{number:02}": "\U0001f511" * 60 for number in range(30)}
    async with serving(system) as authority:
        parent = await authority.issue("agent:a", labels=fits)
        body = {"subject": "agent:b", "kind": "agent", "labels": wide}
        refused = await authority.http.post("/v1/tokens", json=body)
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "labels")
        assert "8192 bytes" in refused.json()["errors"][0]["detail"]
        lineage: list[int] = []
        token = parent["token"]
        while len(lineage) < 16:
            async with authority.as_bearer(token) as bearer:
                child = {"subject": f"agent:a{'/a' * (1 + len(lineage))}", "labels": {}}
                if len(lineage) < 2:
                    child["labels"] = {f"more-{len(lineage)}": "v" * 200}
                answer = await bearer.post("/v1/delegations", json=child)
            lineage.append(answer.status_code)
            if answer.status_code != 201:
                break
            token = answer.json()["token"]
        assert lineage[0] == 201
        assert lineage[-1] == 403, lineage
        assert answer.json()["errors"][0]["field"] == "labels"
