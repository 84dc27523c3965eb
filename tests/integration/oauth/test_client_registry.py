"""The registry of OAuth clients: add, list, rotate, remove, and what an altered row is worth."""

import asyncio
import base64
import uuid
from typing import Any

import pytest
from joserfc.jwk import ECKey
from tests.support import oauth
from tests.support.authority import Running

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def _status(client: oauth.Client) -> int:
    answer = await client.post("/oauth/token", grant_type=oauth.CLIENT_CREDENTIALS)
    return answer.status_code


async def test_a_client_is_added_with_a_secret_that_is_shown_once(shared: Running) -> None:
    client = await oauth.add(shared, tenant="acme", audience=["search"], ttl=600)
    assert client.secret is not None
    assert client.secret.startswith("rsc_svc_")
    found = await shared.http.get(f"/v1/clients/{client.client_id}")
    assert found.json() == client.facts
    assert "client_secret" not in found.json()
    assert client.secret not in found.text
    assert (found.json()["subject"], found.json()["state"]) == (
        f"client:{client.client_id}",
        "active",
    )
    stored = await shared.system.rows("SELECT * FROM clients, tokens WHERE token_id = credential")
    assert client.secret not in str(stored)


async def test_a_repeat_under_the_key_adds_nothing_and_shows_no_secret(shared: Running) -> None:
    body = {
        "client_id": f"repeat-{uuid.uuid4().hex[:8]}",
        "grants": [oauth.CLIENT_CREDENTIALS],
        "scopes": ["a"],
    }
    key = {"idempotency-key": uuid.uuid4().hex}
    first = await shared.http.post("/v1/clients", json=body, headers=key)
    again = await shared.http.post("/v1/clients", json=body, headers=key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json() | {"client_secret": None}


async def test_a_second_client_of_the_same_id_is_a_conflict(shared: Running) -> None:
    client = await oauth.add(shared)
    body = {
        "client_id": client.client_id,
        "grants": [oauth.CLIENT_CREDENTIALS],
        "scopes": ["orders:*"],
    }
    answer = await shared.http.post("/v1/clients", json=body)
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:rescind:problem:client-exists")
    assert (await shared.http.get(f"/v1/clients/{client.client_id}")).json() == client.facts


async def test_clients_are_listed_page_by_page(shared: Running) -> None:
    added = [await oauth.add(shared, f"page-{each}") for each in "cab"]
    names: list[str] = []
    cursor = "page-"
    while cursor is not None:
        query = {"limit": "2", "cursor": cursor}
        page = (await shared.http.get("/v1/clients", params=query)).json()
        names += [each["client_id"] for each in page["clients"]]
        cursor = page["next"]
    assert [each for each in names if each.startswith("page-")] == sorted(
        each.client_id for each in added
    )


async def test_an_id_that_no_client_can_have_is_not_found(shared: Running) -> None:
    for client_id in ("%00", "a%20b", "x" * 64):
        path = f"/v1/clients/{client_id}"
        assert (await shared.http.get(path)).status_code == 404
        assert (await shared.http.post(f"{path}/rotate", json={})).status_code == 404
        assert (await shared.http.post(f"{path}/remove", json={})).status_code == 404
    assert (await shared.http.get("/v1/clients?cursor=%00")).status_code == 422


_PRIVATE = ECKey.generate_key("P-256").as_dict(private=True)
_SHORT = {"kty": "RSA", "e": "AQAB", "n": base64.urlsafe_b64encode(bytes([200] * 128)).decode()}
_PUBLIC = oauth.new_key().as_dict(private=False)


@pytest.mark.parametrize(
    ("facts", "field"),
    [
        ({"client_id": ""}, "client_id"),
        ({"client_id": "a b"}, "client_id"),
        ({"client_id": "a:b"}, "client_id"),
        ({"client_id": "x" * 64}, "client_id"),
        ({"grants": []}, "grants"),
        ({"grants": ["password"]}, "grants.0"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["rescind:admin"]}, "scopes"),
        ({"scopes": ["*"]}, "scopes"),
        ({"scopes": ["a b"]}, "scopes"),
        ({"audience": ["rescind"]}, "audience"),
        ({"kind": "admin"}, "kind"),
        ({"kind": "session"}, "kind"),
        ({"ttl": 0}, "ttl"),
        ({"ttl": 86_401}, "ttl"),
        ({"ttl": 1.5}, "ttl"),
        ({"jwks": {}}, "jwks"),
        ({"jwks": {"keys": []}}, "jwks"),
        ({"jwks": {"keys": "x"}}, "jwks"),
        ({"jwks": {"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}}, "jwks"),
        ({"jwks": {"keys": [_PRIVATE]}}, "jwks"),
        ({"jwks": {"keys": [_PUBLIC | {"dp": "c2VjcmV0"}]}}, "jwks"),
        ({"jwks": {"keys": [_PUBLIC], "more": "c2VjcmV0"}}, "jwks"),
        ({"jwks": {"keys": [_SHORT]}}, "jwks"),
        ({"jwks": {"keys": [_PUBLIC, _PUBLIC]}}, "jwks"),
        ({"jwks": {"keys": [_PUBLIC | {"pad": "x" * 20_000}]}}, "jwks"),
        ({"redirect_uris": ["https://a"]}, "redirect_uris"),
    ],
)
async def test_an_invalid_client_is_refused_and_not_added(
    shared: Running, facts: dict[str, Any], field: str
) -> None:
    client_id = f"bad-{uuid.uuid4().hex[:8]}"
    body = {
        "client_id": client_id,
        "grants": [oauth.CLIENT_CREDENTIALS],
        "scopes": ["a"],
        **facts,
    }
    answer = await shared.http.post("/v1/clients", json=body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["field"].startswith(field)
    assert (await shared.http.get(f"/v1/clients/{client_id}")).status_code == 404
    assert "c2VjcmV0" not in answer.text


async def test_a_rotated_secret_lives_for_the_overlap(shared: Running) -> None:
    client = await oauth.add(shared)
    answer = await shared.http.post(
        f"/v1/clients/{client.client_id}/rotate", json={"overlap": 3600}
    )
    assert answer.status_code == 201
    new = oauth.Client(shared, client.client_id, answer.json()["client_secret"], {})
    assert [await _status(client), await _status(new)] == [200, 200]
    assert answer.json()["credential"] != client.facts["credential"]


async def test_a_rotation_without_an_overlap_ends_the_secrets_of_earlier_overlaps(
    shared: Running,
) -> None:
    client = await oauth.add(shared)
    path = f"/v1/clients/{client.client_id}/rotate"
    secrets: list[oauth.Client] = [client]
    for overlap in (3_600, 3_600, 0):
        answer = await shared.http.post(path, json={"overlap": overlap})
        secret = answer.json()["client_secret"]
        secrets.append(oauth.Client(shared, client.client_id, secret, {}))
    assert [await _status(each) for each in secrets] == [401, 401, 401, 200]


async def test_rotations_at_the_same_time_leave_the_client_a_secret(shared: Running) -> None:
    client = await oauth.add(shared)
    path = f"/v1/clients/{client.client_id}"
    answers = await asyncio.gather(*(shared.http.post(f"{path}/rotate", json={}) for _ in range(4)))
    now = (await shared.http.get(path)).json()
    assert now["state"] == "active"
    secrets = {
        each.json()["credential"]: each.json()["client_secret"]
        for each in answers
        if each.status_code == 201
    }
    last = oauth.Client(shared, client.client_id, secrets[now["credential"]], {})
    assert [await _status(client), await _status(last)] == [401, 200]


async def test_an_administrator_that_may_not_issue_rotates_nothing(shared: Running) -> None:
    client = await oauth.add(shared)
    admin = await shared.issue("admin:a", kind="admin", scopes=["rescind:admin"])
    async with shared.as_bearer(admin["token"]) as http:
        answer = await http.post(f"/v1/clients/{client.client_id}/rotate", json={})
    assert answer.status_code == 403, answer.text
    assert await _status(client) == 200


async def test_a_rotation_without_an_overlap_ends_the_old_secret_and_no_token(
    shared: Running,
) -> None:
    client = await oauth.add(shared, introspect=True)
    token = (await client.token())["access_token"]
    answer = await shared.http.post(f"/v1/clients/{client.client_id}/rotate", json={})
    new = oauth.Client(shared, client.client_id, answer.json()["client_secret"], {})
    assert [await _status(client), await _status(new)] == [401, 200]
    assert (await new.introspect(token))["active"]


async def test_a_repeat_of_a_rotation_ends_no_new_secret(shared: Running) -> None:
    client = await oauth.add(shared)
    key = {"idempotency-key": uuid.uuid4().hex}
    path = f"/v1/clients/{client.client_id}/rotate"
    first = (await shared.http.post(path, json={}, headers=key)).json()
    again = (await shared.http.post(path, json={}, headers=key)).json()
    assert again == first | {"client_secret": None}
    new = oauth.Client(shared, client.client_id, first["client_secret"], {})
    assert await _status(new) == 200


@pytest.mark.parametrize(
    ("keys", "body", "field"),
    [
        (False, {"jwks": oauth.jwks(oauth.new_key())}, "jwks"),
        (True, {}, "jwks"),
        (True, {"jwks": oauth.jwks(oauth.new_key()), "overlap": 60}, "overlap"),
        (False, {"overlap": -1}, "overlap"),
    ],
)
async def test_a_rotation_that_does_not_fit_the_client_changes_nothing(
    shared: Running, keys: bool, body: dict[str, Any], field: str
) -> None:
    client = await oauth.add(shared, jwks=oauth.jwks(oauth.new_key()) if keys else None)
    path = f"/v1/clients/{client.client_id}"
    answer = await shared.http.post(f"{path}/rotate", json=body)
    assert answer.status_code == 422
    assert [each["field"] for each in answer.json()["errors"]] == [field]
    assert (await shared.http.get(path)).json() == client.facts


async def test_a_removed_client_gets_no_token_and_its_tokens_are_revoked(shared: Running) -> None:
    reader = await oauth.add(shared, introspect=True)
    client = await oauth.add(shared, grants=[oauth.CLIENT_CREDENTIALS, oauth.EXCHANGE])
    own = (await client.token())["access_token"]
    parent = await shared.issue("agent:o", scopes=["orders:read"])
    exchanged = (
        await client.post(
            "/oauth/token",
            grant_type=oauth.EXCHANGE,
            subject_token=parent["token"],
            subject_token_type=oauth.ACCESS_TOKEN,
        )
    ).json()["access_token"]
    path = f"/v1/clients/{client.client_id}"
    answer = await shared.http.post(f"{path}/remove", json={"reason": "left"})
    assert answer.status_code == 200
    assert len(answer.json()["revocations"]) == 2
    assert [(await reader.introspect(each))["active"] for each in (own, exchanged)] == [False] * 2
    assert (await reader.introspect(parent["token"]))["active"]
    assert await _status(client) == 401
    assert (await shared.http.get(path)).status_code == 404
    assert (await shared.http.post(f"{path}/remove", json={})).status_code == 404


async def test_a_rotation_at_the_same_time_leaves_no_secret_of_a_removed_client(
    shared: Running,
) -> None:
    client = await oauth.add(shared)
    path = f"/v1/clients/{client.client_id}"
    *rotated, removed = await asyncio.gather(
        *(shared.http.post(f"{path}/rotate", json={"overlap": 600}) for _ in range(3)),
        shared.http.post(f"{path}/remove", json={}),
    )
    assert removed.status_code == 200
    assert (await shared.http.get(path)).status_code == 404
    again = await oauth.add(shared, client.client_id)
    for answer in rotated:
        if answer.status_code == 201:
            old = oauth.Client(shared, client.client_id, answer.json()["client_secret"], {})
            assert await _status(old) == 401
        else:
            assert answer.status_code in {404, 409}, answer.text
    assert await _status(again) == 200


async def test_an_id_can_be_used_again_after_its_removal(shared: Running) -> None:
    client = await oauth.add(shared)
    await shared.http.post(f"/v1/clients/{client.client_id}/remove", json={})
    again = await oauth.add(shared, client.client_id)
    assert [await _status(client), await _status(again)] == [401, 200]


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE clients SET registration = replace(registration, 'orders:read', 'orders:*')",
        "UPDATE clients SET credential = (SELECT min(token_id) FROM tokens)",
    ],
)
async def test_a_client_whose_row_was_altered_is_refused(shared: Running, sql: str) -> None:
    client = await oauth.add(shared)
    await shared.system.tamper(f"{sql} WHERE client_id = $1", client.client_id)
    facts = (await shared.http.get(f"/v1/clients/{client.client_id}")).json()
    assert (facts["state"], facts["scopes"]) == ("altered", [])
    # The secret proves the credential; with an altered registration it is good for nothing.
    assert await _status(client) == (401 if "registration" in sql else 200)


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE clients SET registration = replace(registration, 'orders:read', 'orders:*')",
        (
            "UPDATE clients SET credential = (SELECT token_id FROM tokens"
            " WHERE token_id <> credential AND ended_seq IS NULL AND expires_at > now() LIMIT 1)"
        ),
    ],
)
async def test_a_rotation_does_not_make_an_altered_row_genuine(shared: Running, sql: str) -> None:
    client = await oauth.add(shared)
    await shared.system.tamper(f"{sql} WHERE client_id = $1", client.client_id)
    path = f"/v1/clients/{client.client_id}"
    before = (await shared.http.get(path)).json()
    answer = await shared.http.post(f"{path}/rotate", json={})
    assert (answer.status_code, answer.json()["type"]) == (
        409,
        "urn:rescind:problem:client-altered",
    )
    assert (await shared.http.get(path)).json() == before
    live = "SELECT 1 FROM tokens WHERE token_id = $1 AND ended_seq IS NULL AND expires_at > now()"
    assert await shared.system.rows(live, before["credential"])
    assert await shared.system.rows(live, client.facts["credential"])
    assert (await shared.http.post(f"{path}/remove", json={})).status_code == 200
    assert await _status(client) == 401


async def test_a_client_does_not_get_the_registration_of_another(shared: Running) -> None:
    client, wide = await oauth.add(shared), await oauth.add(shared, scopes=["orders:*"])
    await shared.system.tamper(
        "UPDATE clients SET (credential, registration) ="
        " (SELECT credential, registration FROM clients WHERE client_id = $2) WHERE client_id = $1",
        client.client_id,
        wide.client_id,
    )
    path = f"/v1/clients/{client.client_id}"
    assert (await shared.http.get(path)).json()["state"] == "altered"
    assert (await shared.http.post(f"{path}/rotate", json={})).status_code == 409
    assert [await _status(client), await _status(wide)] == [401, 200]


@pytest.mark.parametrize("document", ["", "{}", "[1]", '{"grants":["x"]}'])
async def test_a_row_that_is_not_readable_hides_no_other_client(
    shared: Running, document: str
) -> None:
    client, other = await oauth.add(shared), await oauth.add(shared)
    await shared.system.tamper(
        "UPDATE clients SET registration = $2 WHERE client_id = $1", client.client_id, document
    )
    assert (await shared.http.get(f"/v1/clients/{client.client_id}")).json()["state"] == "altered"
    page = (await shared.http.get("/v1/clients", params={"limit": "1000"})).json()
    states = {each["client_id"]: each["state"] for each in page["clients"]}
    assert (states[client.client_id], states[other.client_id]) == ("altered", "active")
    await shared.http.post(f"/v1/clients/{client.client_id}/remove", json={})


async def test_every_change_of_a_client_is_audited(shared: Running) -> None:
    client = await oauth.add(shared)
    await shared.http.post(f"/v1/clients/{client.client_id}/rotate", json={})
    await shared.http.post(f"/v1/clients/{client.client_id}/remove", json={})
    found = await shared.system.rows(
        "SELECT action, actor FROM audit WHERE target = $1 ORDER BY audit_id", client.client_id
    )
    assert [row["action"] for row in found] == ["client-add", "client-rotate", "client-remove"]
    assert all(row["actor"].startswith("admin:root tok_") for row in found)
