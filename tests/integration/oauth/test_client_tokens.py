"""Tokens of OAuth clients: `client_credentials`, exchange, introspection and revocation."""

import asyncio
import re
import secrets
import uuid

import pytest
from tests.support import oauth
from tests.support.authority import Running, System, serving

from rescind.core import token_format
from rescind.core.token_format import Kind

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_token_has_what_its_client_is_registered_for(shared: Running) -> None:
    client = await oauth.add(
        shared,
        scopes=["orders:read", "orders:write"],
        audience=["orders", "https://orders.example/mcp"],
        tenant="acme",
        ttl=600,
        kind="agent",
        introspect=True,
    )
    token = await client.token()
    assert (token["token_type"], token["expires_in"]) == ("Bearer", 600)
    assert token["scope"] == "orders:read orders:write"
    found = (await shared.http.get(f"/v1/tokens/{token['token_id']}")).json()
    subject = f"client:{client.client_id}"
    assert (found["subject"], found["client"], found["tenant"]) == (
        subject,
        client.client_id,
        "acme",
    )
    assert found["kind"] == "agent"
    assert found["audience"] == ["https://orders.example/mcp", "orders"]
    assert f"client:{client.client_id}" in found["handles"]
    seen = await client.introspect(token["access_token"])
    assert seen["active"]
    assert (seen["sub"], seen["client_id"], seen["scope"]) == (
        subject,
        client.client_id,
        "orders:read orders:write",
    )
    assert "exp" not in seen


async def test_a_client_may_request_less(shared: Running) -> None:
    client = await oauth.add(shared, scopes=["orders:*"], audience=["orders", "mail"])
    token = await client.token(scope="orders:read", resource="orders")
    assert token["scope"] == "orders:read"
    found = (await shared.http.get(f"/v1/tokens/{token['token_id']}")).json()
    assert found["audience"] == ["orders"]


async def test_a_client_never_gets_more(shared: Running) -> None:
    client = await oauth.add(shared, scopes=["orders:read"], audience=["orders"])
    for form, code in (
        ({"scope": "orders:write"}, "invalid_scope"),
        ({"scope": "orders:read mail:send"}, "invalid_scope"),
        ({"scope": "orders:*"}, "invalid_scope"),
        ({"scope": 'quo"te'}, "invalid_scope"),
        ({"scope": "nul\0\x7f"}, "invalid_scope"),
        ({"audience": "mail"}, "invalid_target"),
        ({"resource": "https://mail.example"}, "invalid_target"),
        ({"audience": "rescind"}, "invalid_target"),
    ):
        answer = await client.post("/oauth/token", grant_type=oauth.CLIENT_CREDENTIALS, **form)
        assert (answer.status_code, answer.json()["error"]) == (400, code), form
        assert re.fullmatch(r"[\x20\x21\x23-\x5b\x5d-\x7e]+", answer.json()["error_description"])
    anywhere = await oauth.add(shared)
    answer = await anywhere.post(
        "/oauth/token", grant_type=oauth.CLIENT_CREDENTIALS, audience="rescind"
    )
    assert answer.json()["error"] == "invalid_target"


async def test_the_response_has_the_scopes_that_no_narrowing_removes(shared: Running) -> None:
    client = await oauth.add(
        shared,
        grants=[oauth.CLIENT_CREDENTIALS, oauth.EXCHANGE],
        scopes=["orders:read", "orders:write"],
        introspect=True,
    )
    await shared.revoke(f"client:{client.client_id}", effect="narrow", scopes=["orders:write"])
    parent = await shared.issue("agent:o", scopes=["orders:*"])
    exchanged = (await client.post("/oauth/token", **_exchange_of(parent))).json()
    for token in (await client.token(scope="orders:read orders:write"), exchanged):
        seen = await client.introspect(token["access_token"])
        assert token["scope"] == seen["scope"] == "orders:read"


async def test_one_revocation_ends_all_tokens_of_a_client(shared: Running) -> None:
    client, other = await oauth.add(shared), await oauth.add(shared, introspect=True)
    tokens = [(await client.token())["access_token"] for _ in range(3)]
    kept = (await other.token())["access_token"]
    await shared.revoke(f"client:{client.client_id}")
    assert [(await other.introspect(each))["active"] for each in tokens] == [False] * 3
    assert (await other.introspect(kept))["active"]
    again = (await client.token())["access_token"]
    assert (await other.introspect(again))["active"]


async def test_no_token_survives_the_removal_of_its_client(shared: Running) -> None:
    reader = await oauth.add(shared, introspect=True)
    client = await oauth.add(shared)
    minted: list[str] = []

    async def mint() -> None:
        while True:
            answer = await client.post("/oauth/token", grant_type=oauth.CLIENT_CREDENTIALS)
            if answer.status_code != 200:
                return
            minted.append(answer.json()["access_token"])

    async with asyncio.TaskGroup() as tasks:
        for _ in range(4):
            tasks.create_task(mint())
        while len(minted) < 8:
            await asyncio.sleep(0)
        await shared.http.post(f"/v1/clients/{client.client_id}/remove", json={})
    assert [each for each in minted if (await reader.introspect(each))["active"]] == []


async def test_an_exchange_by_a_client_that_ends_meanwhile_is_refused_as_of_no_client(
    shared: Running,
) -> None:
    client = await oauth.add(shared, grants=[oauth.EXCHANGE])
    parent = await shared.issue("agent:o", scopes=["orders:read"])
    refused: list[tuple[int, str]] = []
    exchanged = 0

    async def exchange() -> None:
        nonlocal exchanged
        while True:
            answer = await client.post("/oauth/token", **_exchange_of(parent))
            if answer.status_code != 200:
                refused.append((answer.status_code, answer.json()["error"]))
                return
            exchanged += 1

    async with asyncio.TaskGroup() as tasks:
        for _ in range(8):
            tasks.create_task(exchange())
        while exchanged < 8:
            await asyncio.sleep(0)
        await shared.http.post(f"/v1/clients/{client.client_id}/remove", json={})
    assert set(refused) == {(401, "invalid_client")}


async def test_too_many_tokens_are_refused_with_the_time_of_a_retry(system: System) -> None:
    async with serving(system.but(self_service_per_s=0.1)) as authority:
        client = await oauth.add(authority)
        for _ in range(50):
            await client.token()
        refused = await client.post("/oauth/token", grant_type=oauth.CLIENT_CREDENTIALS)
        assert (refused.status_code, refused.json()["error"]) == (429, "temporarily_unavailable")
        assert int(refused.headers["retry-after"]) >= 1


async def test_a_client_does_not_flood_the_ledger_with_ends_of_its_tokens(system: System) -> None:
    async with serving(system.but(self_service_per_s=0.1)) as authority:
        client, other = await oauth.add(authority), await oauth.add(authority)
        tokens = [(await client.token())["access_token"] for _ in range(3)]
        answers = [await client.post("/oauth/revoke", token=each) for each in tokens]
        assert [each.status_code for each in answers] == [200, 429, 429]
        assert answers[1].json()["error"] == "temporarily_unavailable"
        assert int(answers[1].headers["retry-after"]) >= 1
        own = (await other.token())["access_token"]
        assert (await other.post("/oauth/revoke", token=own)).status_code == 200


async def test_a_plain_exchange_needs_neither_subject_nor_scope(shared: Running) -> None:
    parent = await shared.issue("user:1", kind="personal", scopes=["a", "b", "c"], max_depth=3)
    await shared.revoke(f"token:{parent['token_id']}", effect="narrow", scopes=["b"])
    form = {
        "grant_type": oauth.EXCHANGE,
        "subject_token": parent["token"],
        "subject_token_type": oauth.ACCESS_TOKEN,
    }
    key = {"idempotency-key": uuid.uuid4().hex}
    async with shared.as_bearer(None) as http:
        answer = await http.post("/oauth/token", data=form, headers=key)
        again = await http.post("/oauth/token", data=form, headers=key)
    assert answer.status_code == 200, answer.text
    assert answer.json()["scope"] == "a c"
    assert answer.json()["issued_token_type"] == oauth.ACCESS_TOKEN
    assert answer.json()["token_id"] in again.json()["error_description"]
    found = (await shared.http.get(f"/v1/tokens/{answer.json()['token_id']}")).json()
    assert found["subject"].startswith("user:1/")
    assert found["chain"] == ["user:1"]


async def test_an_exchange_by_a_client_belongs_to_the_client_and_stays_within_it(
    shared: Running,
) -> None:
    client = await oauth.add(
        shared,
        grants=[oauth.EXCHANGE],
        scopes=["orders:*"],
        audience=["orders", "mail"],
        introspect=True,
    )
    parent = await shared.issue(
        "agent:o",
        scopes=["orders:read", "files:read"],
        audience=["orders", "files"],
        self_service=["delegate"],
    )
    form = {
        "grant_type": oauth.EXCHANGE,
        "subject_token": parent["token"],
        "subject_token_type": oauth.ACCESS_TOKEN,
    }
    answer = (await client.post("/oauth/token", **form)).json()
    assert answer["scope"] == "orders:read"
    found = (await shared.http.get(f"/v1/tokens/{answer['token_id']}")).json()
    assert (found["client"], found["audience"]) == (client.client_id, ["orders"])
    seen = await client.introspect(answer["access_token"])
    assert seen["act"] == {"sub": found["subject"], "act": {"sub": "agent:o"}}
    for more, code in (
        ({"scope": "files:read"}, "invalid_scope"),
        ({"audience": "files"}, "invalid_target"),
        ({"resource": "files"}, "invalid_target"),
    ):
        refused = await client.post("/oauth/token", **form, **more)
        assert refused.json()["error"] == code
    await shared.revoke(f"client:{client.client_id}")
    assert await client.introspect(answer["access_token"]) == {"active": False}


def _exchange_of(parent: dict[str, str]) -> dict[str, str]:
    return {
        "grant_type": oauth.EXCHANGE,
        "subject_token": parent["token"],
        "subject_token_type": oauth.ACCESS_TOKEN,
    }


async def test_an_exchange_by_a_client_lives_no_longer_than_registered(shared: Running) -> None:
    client = await oauth.add(shared, grants=[oauth.EXCHANGE], ttl=60)
    parent = await shared.issue("agent:o", scopes=["orders:read"], ttl=86_400)
    form = _exchange_of(parent)
    assert (await client.post("/oauth/token", **form)).json()["expires_in"] == 60
    assert (await client.post("/oauth/token", **form, ttl="59")).json()["expires_in"] == 59
    refused = await client.post("/oauth/token", **form, ttl="61")
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request")
    brief = await shared.issue("agent:p", scopes=["orders:read"], ttl=30)
    answer = await client.post("/oauth/token", **_exchange_of(brief))
    assert answer.json()["expires_in"] <= 30
    patient = await oauth.add(shared, grants=[oauth.EXCHANGE], ttl=7_200)
    assert (await patient.post("/oauth/token", **form)).json()["expires_in"] == 3_600


async def test_an_exchange_by_a_client_stays_in_its_tenant(shared: Running) -> None:
    client = await oauth.add(shared, grants=[oauth.EXCHANGE], tenant="acme")
    for tenant, status in (("acme", 200), ("other", 400), (None, 400)):
        parent = await shared.issue("agent:o", scopes=["orders:read"], tenant=tenant)
        answer = await client.post("/oauth/token", **_exchange_of(parent))
        assert answer.status_code == status, answer.text
        assert status == 200 or answer.json()["error"] == "invalid_request"


async def test_an_exchange_by_a_client_gets_the_registered_part_of_a_pattern(
    shared: Running,
) -> None:
    client = await oauth.add(
        shared, grants=[oauth.EXCHANGE], scopes=["orders:read", "mail:*", "files:read"]
    )
    parent = await shared.issue("agent:o", scopes=["orders:*", "mail:send", "users:read"])
    answer = await client.post("/oauth/token", **_exchange_of(parent))
    assert answer.json()["scope"] == "mail:send orders:read"


async def test_an_actor_gets_a_token_if_the_subject_token_may_speak_for_it(
    shared: Running,
) -> None:
    parent = await shared.issue(
        "user:9", kind="personal", scopes=["a"], may_speak_for=["agent:helper"]
    )
    helper = await shared.issue("agent:helper", scopes=["x"])
    stranger = await shared.issue("agent:stranger", scopes=["x"])
    form = {
        "grant_type": oauth.EXCHANGE,
        "subject_token": parent["token"],
        "subject_token_type": oauth.ACCESS_TOKEN,
        "actor_token_type": oauth.ACCESS_TOKEN,
    }
    async with shared.as_bearer(None) as http:
        good = await http.post("/oauth/token", data=form | {"actor_token": helper["token"]})
        assert good.status_code == 200, good.text
        found = (await shared.http.get(f"/v1/tokens/{good.json()['token_id']}")).json()
        assert (found["subject"], found["chain"]) == ("agent:helper", ["user:9"])
        for bad in (
            {"actor_token": stranger["token"]},
            {"actor_token": helper["token"], "subject": "user:9/x"},
            {"actor_token": "rsc_agt_" + "0" * 60},
            {},
        ):
            refused = await http.post("/oauth/token", data=form | bad)
            assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request"), bad


async def test_introspection_is_for_clients_that_may(shared: Running) -> None:
    client = await oauth.add(shared)
    answer = await client.post("/oauth/introspect", token="x")
    assert (answer.status_code, answer.json()["error"]) == (403, "insufficient_scope")


async def test_introspection_reports_every_token_that_is_not_accepted_as_inactive(
    shared: Running,
) -> None:
    reader = await oauth.add(shared, introspect=True)
    good = await shared.issue("agent:i", scopes=["a", "b"])
    assert (await reader.introspect(good["token"]))["scope"] == "a b"
    await shared.revoke(f"token:{good['token_id']}", effect="narrow", scopes=["b"])
    assert (await reader.introspect(good["token"]))["scope"] == "a"
    suspended = await shared.issue("agent:s", scopes=["a"])
    await shared.revoke(f"token:{suspended['token_id']}", effect="suspend")
    expired = await shared.issue("agent:e", scopes=["a"])
    await shared.http.post(f"/v1/tokens/{expired['token_id']}/expire", json={})
    elsewhere = await shared.issue("agent:v", verifier={"zone": "a"})
    bound = await shared.issue("agent:b", addresses=["10.0.0.0/8"])
    for token in (suspended, expired, elsewhere, bound):
        assert await reader.introspect(token["token"]) == {"active": False}
    for text in ("x", "rsc_agt_" + "0" * 60):
        assert await reader.introspect(text) == {"active": False}
    assert (await reader.introspect(bound["token"], address="10.1.2.3"))["active"]
    assert await reader.introspect(bound["token"], address="192.0.2.1") == {"active": False}


async def test_introspection_refuses_parameters_that_it_does_not_know(shared: Running) -> None:
    reader = await oauth.add(shared, introspect=True)
    answer = await reader.post("/oauth/introspect", token="x", adress="10.0.0.1")
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert "adress" not in answer.text


async def test_a_forged_token_costs_no_look_up(shared: Running) -> None:
    reader = await oauth.add(shared, introspect=True)
    forged = token_format.mint(
        kind=Kind.AGENT, random=secrets.token_bytes(32), edge_key=secrets.token_bytes(32)
    ).reveal()
    unknown = 'rescind_authority_resolves_total{outcome="unknown"}'
    before = await shared.metric(unknown)
    assert await reader.introspect(forged) == {"active": False}
    assert await shared.metric(unknown) == before


async def test_a_client_revokes_its_own_tokens_with_what_was_delegated(shared: Running) -> None:
    client = await oauth.add(shared, introspect=True)
    token = await client.token()
    async with shared.as_bearer(token["access_token"]) as bearer:
        child = (
            await bearer.post(
                "/v1/delegations",
                json={"subject": f"client:{client.client_id}/x", "scopes": ["orders:read"]},
            )
        ).json()
    answer = await client.post(
        "/oauth/revoke", token=token["access_token"], token_type_hint="access_token", wait="true"
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["state"] == "enforced"
    assert await client.introspect(token["access_token"]) == {"active": False}
    assert await client.introspect(child["token"]) == {"active": False}
    found = (await shared.http.get(f"/v1/revocations/{answer.json()['revocation_id']}")).json()
    assert found["actor"] == f"client:{client.client_id} {client.facts['credential']}"
    again = await client.post("/oauth/revoke", token=token["access_token"])
    assert (again.status_code, again.json()) == (200, {})


async def test_a_wait_for_a_token_that_is_revoked_already_waits_for_that_revocation(
    shared: Running,
) -> None:
    client = await oauth.add(shared)
    first, second, third = [await client.token() for _ in range(3)]
    waiting = {"wait": "true", "timeout": "1"}
    async with shared.system.sidecar() as sidecar:
        await sidecar.beat()
        answer = await client.post("/oauth/revoke", token=first["access_token"], **waiting)
        assert (answer.status_code, answer.json()["state"]) == (202, "committed")
        by_admin = await shared.revoke(f"token:{second['token_id']}")
        await shared.http.post(f"/v1/tokens/{third['token_id']}/expire", json={})
        for token, ended_by in (
            (first, {answer.json()["revocation_id"]}),
            (second, {by_admin["id"]}),
            (third, None),
        ):
            again = await client.post("/oauth/revoke", token=token["access_token"], **waiting)
            assert (again.status_code, again.json()["state"]) == (202, "committed"), again.text
            assert ended_by in (None, {again.json()["revocation_id"]})
        await sidecar.release()
    for token in (first, second, third):
        last = await client.post("/oauth/revoke", token=token["access_token"], wait="true")
        assert (last.status_code, last.json()["state"]) == (200, "enforced"), last.text


async def test_the_revocation_of_an_unknown_token_succeeds(shared: Running) -> None:
    client = await oauth.add(shared)
    for text in ("x", "rsc_svc_" + "0" * 60):
        answer = await client.post("/oauth/revoke", token=text)
        assert (answer.status_code, answer.json()) == (200, {})


async def test_a_client_revokes_no_token_of_another(shared: Running) -> None:
    client = await oauth.add(shared, introspect=True)
    other = await oauth.add(shared)
    foreign = [(await other.token())["access_token"], (await shared.issue("agent:x"))["token"]]
    assert other.secret is not None
    for token in (*foreign, other.secret):
        answer = await client.post("/oauth/revoke", token=token)
        assert (answer.status_code, answer.json()["error"]) == (400, "unauthorized_client")
    for token in foreign:
        assert (await client.introspect(token))["active"]


async def test_a_revocation_refuses_bad_options(shared: Running) -> None:
    client = await oauth.add(shared)
    token = (await client.token())["access_token"]
    for more in (
        {"wait": "yes"},
        {"wait": "true", "timeout": "x"},
        {"wait": "true", "timeout": "0"},
        {"wiat": "true"},
    ):
        answer = await client.post("/oauth/revoke", token=token, **more)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    answer = await client.post("/oauth/revoke")
    assert answer.json()["error"] == "invalid_request"
