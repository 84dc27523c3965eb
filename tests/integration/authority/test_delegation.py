"""Delegation over HTTP: what a holder may hand on, and what is refused in which words."""

import time
from typing import Any

import httpx2
import pytest
from tests.support.authority import Running, System, serving

from rescind.core import tokens
from rescind.core.conditions import Conditions
from rescind.core.tokens import Kind
from rescind_authority.edge_keys import EdgeKeys

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


async def test_a_child_has_what_was_asked_for_and_its_parent_s_handles(system: System) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        parent = await authority.issue(
            "agent:o", scopes=["tools:*"], audience=["search"], tenant="t", labels={"team": "red"}
        )
        child = await child_of(
            authority, parent, scopes=["tools:call"], labels={"step": "1"}, max_depth=1
        )
        grandchild = await child_of(authority, child, "b")
        _, record = await sidecar.resolve(grandchild["token"])
        assert record is not None
        assert record.live
        assert record.lineage == (parent["token_id"], child["token_id"])
        assert record.chain == ("agent:o", "agent:o/a")
        assert (record.scopes, record.audience) == (frozenset(), {"search"})
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


async def test_more_than_the_parent_has_is_refused_field_by_field(system: System) -> None:
    async with serving(system) as authority:
        parent = await authority.issue("agent:o", scopes=["a"], audience=["search"])
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


async def test_whom_a_child_may_speak_for_is_written_into_the_parent(system: System) -> None:
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


async def test_a_dead_parent_hands_nothing_on(system: System) -> None:
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


async def test_a_cutoff_that_ends_a_parent_ends_what_it_handed_on_later(system: System) -> None:
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


async def test_a_lineage_ends_at_sixteen_ancestors(system: System) -> None:
    async with serving(system) as authority:
        token = await authority.issue("agent:o")
        for _ in range(16):
            token = await child_of(authority, token)
        assert len(token["lineage"]) == 16
        answer = await delegate(authority, token["token"], subject=f"{token['subject']}/a")
        assert answer.status_code == 403
        assert answer.json()["errors"][0]["field"] == "parent"


async def test_forged_parents_cost_no_look_up(system: System) -> None:
    async with serving(system) as authority:
        edge_key = EdgeKeys.read(system.settings.edge_keys_path).keys[0].key

        async def look_ups_after_asking_with(key: bytes) -> float:
            token = tokens.mint(kind=Kind.AGENT, random=bytes(32), edge_key=key).reveal()
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


async def test_a_repeat_makes_no_second_child_and_a_key_belongs_to_one_parent(
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


async def test_a_standing_suspension_of_the_child_s_subject_stops_it_before_it_is_born(
    system: System,
) -> None:
    async with serving(system) as authority:
        parent = await authority.issue("agent:o")
        await _suspend(system, "chain:agent:o/a")
        answer = await delegate(authority, parent["token"], subject="agent:o/a")
        assert answer.status_code == 409
        assert answer.json()["type"] == "urn:rescind:problem:held"
        assert (await delegate(authority, parent["token"], subject="agent:o/b")).status_code == 201
        issue = {"subject": "agent:o/a", "kind": "agent"}
        assert (await authority.http.post("/v1/tokens", json=issue)).status_code == 409
        await system.rows("UPDATE revocations SET lifted_at = now()")
        assert (await delegate(authority, parent["token"], subject="agent:o/a")).status_code == 201


async def test_a_suspended_parent_hands_nothing_on_until_it_is_lifted(system: System) -> None:
    async with serving(system) as authority:
        parent = await authority.issue("agent:o")
        await _suspend(system, f"tree:{parent['token_id']}")
        answer = await delegate(authority, parent["token"], subject="agent:o/a")
        assert answer.status_code == 401
        assert "suspended" in answer.json()["detail"]


async def test_a_narrowed_parent_does_not_hand_on_what_was_taken(system: System) -> None:
    async with serving(system) as authority:
        parent = await authority.issue("agent:o", scopes=["tools:*"])
        await _suspend(system, f"token:{parent['token_id']}", effect="narrow", scopes=["tools:x"])
        answer = await delegate(
            authority, parent["token"], subject="agent:o/a", scopes=["tools:x", "tools:y"]
        )
        assert answer.status_code == 403
        (error,) = answer.json()["errors"]
        assert "tools:x" in error["detail"]


async def _suspend(
    system: System, handle: str, *, effect: str = "suspend", scopes: list[str] | None = None
) -> None:
    """Put a standing revocation into the ledger as another version of us would."""
    await system.rows("UPDATE ledger_head SET seq = seq + 1")
    await system.rows("INSERT INTO events SELECT seq, epoch, '', head FROM ledger_head")
    await system.rows(
        "INSERT INTO revocations (revocation_id, epoch, seq, effect, selector, anchor, exact, "
        "scopes, reason, actor, committed_at) "
        "SELECT 'rev_' || seq, epoch, seq, $1, ARRAY[$2], $2, false, $3, '', 'test', now() "
        "FROM ledger_head",
        effect,
        handle,
        scopes or [],
    )


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
        parent = await authority.issue("agent:o", scopes=["a", "b"], audience=["x", "y", "z"])
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
        ({"scope": None}, "invalid_scope"),
        ({"scope": "b"}, "invalid_scope"),
        ({"scope": 'quo"te'}, "invalid_scope"),
        ({"subject": None}, "invalid_request"),
        ({"subject": "agent:other"}, "invalid_request"),
        ({"subject": ["agent:o/a", "agent:o/b"]}, "invalid_request"),
        ({"ttl": "soon"}, "invalid_request"),
        ({"ttl": "0"}, "invalid_request"),
        ({"max_depth": "-1"}, "invalid_request"),
        ({"max_depth": "17"}, "invalid_request"),
    ],
)
async def test_a_bad_exchange_is_refused_as_oauth_says(
    system: System, form: dict[str, Any], error: str
) -> None:
    async with serving(system) as authority:
        parent = await authority.issue("agent:o", scopes=["a"], audience=["search"])
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


async def test_what_oauth_there_is_stands_where_rfc_8414_says(system: System) -> None:
    async with serving(system) as authority, authority.as_bearer(None) as anybody:
        found = (await anybody.get("/.well-known/oauth-authorization-server")).json()
        assert found["issuer"] == authority.url
        assert found["token_endpoint"] == f"{authority.url}/oauth/token"
        assert found["grant_types_supported"] == [EXCHANGE]


async def test_conditions_are_kept_and_no_child_is_less_bound(system: System) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        parent = await authority.issue(
            "agent:a", addresses=["127.0.0.0/8", "10.0.0.0/8"], verifier={"region": "eu"}
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


async def test_an_admin_token_that_is_tied_to_another_network_commands_nothing(
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
