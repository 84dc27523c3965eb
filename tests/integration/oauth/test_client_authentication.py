"""How OAuth clients authenticate: by a secret, or by an assertion (RFC 7523)."""

import base64
import hmac
import json
import time
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from tests.support import oauth
from tests.support.authority import Running, System, serving
from tests.support.eventually import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

ENDPOINTS = ("/oauth/token", "/oauth/introspect", "/oauth/revoke")


async def post(
    authority: Running,
    form: dict[str, Any],
    *,
    path: str = "/oauth/token",
    headers: dict[str, str] | None = None,
) -> httpx2.Response:
    """Send a form without credentials of its own."""
    async with authority.as_bearer(None) as http:
        return await http.post(path, data=form, headers=headers or {})


def of_endpoint(path: str) -> dict[str, str]:
    """Return the parameters that an endpoint needs besides credentials."""
    return {"grant_type": oauth.CLIENT_CREDENTIALS} if path == "/oauth/token" else {"token": "x"}


def basic(client_id: str, secret: str) -> dict[str, str]:
    encoded = base64.b64encode(f"{client_id}:{secret}".encode()).decode()
    return {"authorization": f"Basic {encoded}"}


@pytest.mark.parametrize("path", ENDPOINTS)
async def test_each_endpoint_accepts_a_secret_by_basic_and_by_the_form(
    shared: Running, path: str
) -> None:
    client = await oauth.add(shared, introspect=True)
    assert client.secret is not None
    form = of_endpoint(path)
    by_basic = await post(shared, form, path=path, headers=basic(client.client_id, client.secret))
    credentials = {"client_id": client.client_id, "client_secret": client.secret}
    by_form = await post(shared, form | credentials, path=path)
    assert (by_basic.status_code, by_form.status_code) == (200, 200), by_form.text


@pytest.mark.parametrize("path", ENDPOINTS)
async def test_each_endpoint_refuses_a_wrong_client_with_a_challenge(
    shared: Running, path: str
) -> None:
    client, other = await oauth.add(shared), await oauth.add(shared)
    assert client.secret is not None
    assert other.secret is not None
    plain = await shared.issue(f"client:{client.client_id}", kind="service", scopes=["a"])
    for client_id, secret in (
        (client.client_id, other.secret),
        (client.client_id, ""),
        (client.client_id, "rsc_svc_" + "0" * 60),
        (client.client_id, plain["token"]),
        ("missing", client.secret),
        (f"client:{client.client_id}", client.secret),
        ("", client.secret),
    ):
        answer = await post(shared, of_endpoint(path), path=path, headers=basic(client_id, secret))
        assert answer.status_code == 401, (client_id, answer.text)
        assert answer.json()["error"] == "invalid_client"
        assert answer.headers["www-authenticate"].startswith("Basic ")
        assert answer.headers["cache-control"] == "no-store"
        assert secret == "" or secret not in answer.text


@pytest.mark.parametrize("path", ENDPOINTS)
async def test_each_endpoint_refuses_a_request_that_is_no_form_with_the_rfcs_code(
    shared: Running, path: str
) -> None:
    client = await oauth.add(shared, introspect=True)
    assert client.secret is not None
    form, auth = of_endpoint(path), basic(client.client_id, client.secret)
    async with shared.as_bearer(None) as http:
        text = {"content-type": "application/x-www-form-urlencoded", **auth}
        name = next(iter(form))
        answers = {
            "json": await http.post(path, json=form, headers=auth),
            "empty": await http.post(path, headers=auth),
            "query": await http.post(path, params=form, headers=auth),
            "query and form": await http.post(path, params={"a": "b"}, data=form, headers=auth),
            "twice": await http.post(path, content=f"{name}=a&{name}=a", headers=text),
            "not utf-8": await http.post(path, content=f"{name}=%ff", headers=text),
            "bytes": await http.post(path, content=b"\xff\xfe", headers=text),
            "two methods": await http.post(
                path,
                data=form | {"client_id": client.client_id, "client_secret": client.secret},
                headers=auth,
            ),
            "secret and assertion": await http.post(
                path,
                data=form
                | {"client_id": client.client_id, "client_secret": client.secret}
                | {"client_assertion": "x", "client_assertion_type": oauth.ASSERTION_TYPE},
            ),
            "another id": await http.post(path, data=form | {"client_id": "x"}, headers=auth),
            "secret without id": await http.post(path, data=form | {"client_secret": "x"}),
            "assertion of another type": await http.post(
                path, data=form | {"client_assertion": "x", "client_assertion_type": "saml"}
            ),
            "not base64": await http.post(path, data=form, headers={"authorization": "Basic !"}),
            "idempotency key": await http.post(
                path, data=form, headers=auth | {"idempotency-key": "x" * 201}
            )
            if path != "/oauth/introspect"
            else await http.post(path, json={}),
        }
        for name, answer in answers.items():
            assert answer.status_code == 400, (name, answer.text)
            assert answer.json()["error"] == "invalid_request", (name, answer.text)
            assert client.secret not in answer.text
        wrong = await http.get(path)
        assert (wrong.status_code, wrong.json()["error"]) == (405, "invalid_request")
        large = await http.post(path, data=form | {"scope": "x" * 70_000})
        assert (large.status_code, large.json()["error"]) == (413, "invalid_request")


async def test_a_grant_that_is_unknown_or_not_registered_is_refused(shared: Running) -> None:
    client = await oauth.add(shared)
    for grant, code in (
        ("password", "unsupported_grant_type"),
        ("authorization_code", "unsupported_grant_type"),
        ("refresh_token", "unsupported_grant_type"),
        (oauth.EXCHANGE, "unauthorized_client"),
    ):
        answer = await client.post(
            "/oauth/token",
            grant_type=grant,
            subject_token="x",
            subject_token_type=oauth.ACCESS_TOKEN,
        )
        assert (answer.status_code, answer.json()["error"]) == (400, code)
    reader = await oauth.add(shared, grants=[], introspect=True)
    answer = await reader.post("/oauth/token", grant_type=oauth.CLIENT_CREDENTIALS)
    assert answer.json()["error"] == "unauthorized_client"


async def test_a_suspended_client_is_refused_until_the_lift_and_a_killed_one_for_good(
    shared: Running,
) -> None:
    client = await oauth.add(shared)
    held = await shared.revoke(f"token:{client.facts['credential']}", effect="suspend")
    refused = await client.post("/oauth/token", grant_type=oauth.CLIENT_CREDENTIALS)
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
    await shared.http.post(f"/v1/revocations/{held['id']}/lift", json={})
    await client.token()
    await shared.revoke(f"chain:client:{client.client_id}", effect="kill")
    killed = await client.post("/oauth/token", grant_type=oauth.CLIENT_CREDENTIALS)
    assert (killed.status_code, killed.json()["error"]) == (401, "invalid_client")


async def test_a_suspension_of_the_clients_tokens_stops_minting(shared: Running) -> None:
    client = await oauth.add(shared)
    held = await shared.revoke(f"client:{client.client_id}", effect="suspend")
    refused = await client.post("/oauth/token", grant_type=oauth.CLIENT_CREDENTIALS)
    assert (refused.status_code, refused.json()["error"]) == (400, "unauthorized_client")
    await shared.http.post(f"/v1/revocations/{held['id']}/lift", json={})
    await client.token()


@pytest.mark.parametrize("path", ENDPOINTS)
async def test_each_endpoint_accepts_an_assertion_once(shared: Running, path: str) -> None:
    key = oauth.new_key()
    client = await oauth.add(shared, jwks=oauth.jwks(key), introspect=True)
    assert client.secret is None
    for audience in (shared.url, f"{shared.url}/oauth/token", [shared.url]):
        form = oauth.asserted(oauth.assertion(key, client.client_id, audience))
        form |= of_endpoint(path)
        if path != "/oauth/token":
            del form["grant_type"]
        first, again = await post(shared, form, path=path), await post(shared, form, path=path)
        assert first.status_code == 200, first.text
        assert (again.status_code, again.json()["error"]) == (401, "invalid_client")
        assert "used before" in again.json()["error_description"]


async def test_a_client_chooses_among_its_keys_by_their_ids(shared: Running) -> None:
    old, new = oauth.new_key("2026-01"), oauth.new_key("2026-02")
    client = await oauth.add(shared, jwks=oauth.jwks(old, new))
    for key in (old, new):
        form = oauth.asserted(oauth.assertion(key, client.client_id, shared.url))
        assert (await post(shared, form)).status_code == 200
    answer = await shared.http.post(
        f"/v1/clients/{client.client_id}/rotate", json={"jwks": oauth.jwks(new)}
    )
    assert answer.status_code == 201
    for key, status in ((old, 401), (new, 200)):
        form = oauth.asserted(oauth.assertion(key, client.client_id, shared.url))
        assert (await post(shared, form)).status_code == status


PAST, LATER = timedelta(minutes=-10), timedelta(minutes=100)


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "https://other.example"},
        {"aud": None},
        {"aud": []},
        {"aud": 7},
        {"iss": "other"},
        {"iss": None},
        {"sub": "other"},
        {"sub": None},
        {"exp": None},
        {"exp": PAST},
        {"exp": LATER},
        {"exp": "soon"},
        {"exp": True},
        {"iat": LATER},
        {"nbf": LATER},
        {"jti": None},
        {"jti": ""},
        {"jti": 7},
        {"jti": "x" * 257},
        {"jti": "\ud800"},
        {"exp": float("nan")},
        {"exp": float("inf")},
        {"exp": 10**400},
        {"nbf": float("nan")},
        {"iat": float("nan")},
        {"pad": "x" * 9_000},
    ],
    ids=str,
)
async def test_an_assertion_with_a_wrong_claim_is_refused(
    shared: Running, claims: dict[str, Any]
) -> None:
    key = oauth.new_key()
    client = await oauth.add(shared, jwks=oauth.jwks(key))
    timed: dict[str, Any] = {
        name: time.time() + each.total_seconds() if isinstance(each, timedelta) else each
        for name, each in claims.items()
    }
    audience = timed.pop("aud", shared.url)
    signed = oauth.assertion(key, client.client_id, audience, **timed)
    answer = await post(shared, oauth.asserted(signed))
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client"), answer.text
    assert signed not in answer.text


async def test_an_assertion_for_two_audiences_is_refused(shared: Running) -> None:
    key = oauth.new_key()
    client = await oauth.add(shared, jwks=oauth.jwks(key))
    two = oauth.assertion(key, client.client_id, [shared.url, "https://other.example"])
    assert (await post(shared, oauth.asserted(two))).status_code == 401


async def test_an_assertion_under_another_key_or_algorithm_is_refused(shared: Running) -> None:
    key = oauth.new_key()
    client = await oauth.add(shared, jwks=oauth.jwks(key))
    good = oauth.assertion(key, client.client_id, shared.url)
    header, payload, _ = good.split(".")
    # A verifier that lets the header choose takes the public key for the secret of HS256.
    forged_header = base64.urlsafe_b64encode(b'{"alg":"HS256"}').decode().rstrip("=")
    public = key.as_pem(private=False)
    tag = hmac.digest(public, f"{forged_header}.{payload}".encode(), "sha256")
    symmetric = base64.urlsafe_b64encode(tag).decode().rstrip("=")
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")
    for signed in (
        oauth.assertion(oauth.new_key(), client.client_id, shared.url),
        f"{forged_header}.{payload}.{symmetric}",
        f"{none}.{payload}.",
        f"{header}.{payload}.",
        f"{header}.{payload}",
        "x",
        "..",
        "e30.e30.e30",
        "e30.W10.e30",
    ):
        answer = await post(shared, oauth.asserted(signed))
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client"), signed
    assert (await post(shared, oauth.asserted(good))).status_code == 200


def _encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).decode().rstrip("=")


@pytest.mark.parametrize("issuer", ["\\u0000", "\\ud800", "a b", "", "x" * 64, "client:x"])
async def test_an_assertion_of_a_client_that_cannot_exist_is_refused(
    shared: Running, issuer: str
) -> None:
    header, payload = b'{"alg":"ES256"}', b'{"iss":"%s"}' % issuer.encode()
    answer = await post(shared, oauth.asserted(f"{_encoded(header)}.{_encoded(payload)}.eA"))
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client"), answer.text


@pytest.mark.parametrize("nested", [b"[" * 5_000, b'{"a":' * 1_000, b"[" * 900 + b"]" * 900])
async def test_an_assertion_with_deeply_nested_json_is_refused(
    shared: Running, nested: bytes
) -> None:
    header = _encoded(b'{"alg":"ES256"}')
    for signed in (f"{header}.{_encoded(nested)}.eA", f"{_encoded(nested)}.e30.eA"):
        answer = await post(shared, oauth.asserted(signed))
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


@pytest.mark.parametrize(
    "header",
    [
        {"crit": 5},
        {"crit": [{}]},
        {"crit": ["b64"], "b64": False},
        {"crit": ["exp"]},
        {"alg": ["ES256"]},
        {"alg": "RS256"},
        {"kid": {}},
        {"jwk": 5},
        {"x5c": 5},
    ],
    ids=str,
)
async def test_an_assertion_with_an_unusable_header_is_refused(
    shared: Running, header: dict[str, Any]
) -> None:
    key = oauth.new_key()
    client = await oauth.add(shared, jwks=oauth.jwks(key))
    _, payload, signature = oauth.assertion(key, client.client_id, shared.url).split(".")
    encoded = _encoded(json.dumps({"alg": "ES256", **header}).encode())
    answer = await post(shared, oauth.asserted(f"{encoded}.{payload}.{signature}"))
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client"), answer.text


async def test_the_form_may_name_the_client_of_an_assertion_and_no_other(shared: Running) -> None:
    key = oauth.new_key()
    client = await oauth.add(shared, jwks=oauth.jwks(key))
    for client_id, status in ((client.client_id, 200), ("other", 401)):
        signed = oauth.assertion(key, client.client_id, shared.url)
        answer = await post(shared, oauth.asserted(signed, client_id=client_id))
        assert answer.status_code == status


async def test_each_client_authenticates_in_the_way_that_it_is_registered_for(
    shared: Running,
) -> None:
    key = oauth.new_key()
    with_secret = await oauth.add(shared)
    signed = oauth.assertion(key, with_secret.client_id, shared.url)
    answer = await post(shared, oauth.asserted(signed))
    assert answer.status_code == 401
    with_keys = await oauth.add(shared, jwks=oauth.jwks(key))
    # An administrator with the right may rotate the credential, and so see its secret.
    path = f"/v1/tokens/{with_keys.facts['credential']}/rotate"
    rotated = (await shared.http.post(path, json={})).json()
    secret = oauth.Client(shared, with_keys.client_id, rotated["token"], {})
    answer = await secret.post("/oauth/token", grant_type=oauth.CLIENT_CREDENTIALS)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


async def test_an_assertion_without_the_key_shows_nothing_of_the_client(shared: Running) -> None:
    key = oauth.new_key()
    known = await oauth.add(shared, jwks=oauth.jwks(key))
    suspended = await oauth.add(shared, jwks=oauth.jwks(key))
    await shared.revoke(f"token:{suspended.facts['credential']}", effect="suspend")
    with_secret = await oauth.add(shared)
    forged = oauth.new_key()
    answers = [
        await post(shared, oauth.asserted(oauth.assertion(forged, client_id, shared.url)))
        for client_id in (
            "missing",
            known.client_id,
            suspended.client_id,
            with_secret.client_id,
        )
    ]
    assert {(each.status_code, each.text) for each in answers} == {(401, answers[0].text)}


async def test_the_audit_names_no_client_that_did_not_sign_the_assertion(system: System) -> None:
    async with serving(system) as authority:
        client = await oauth.add(authority, jwks=oauth.jwks(oauth.new_key()))
        signed = oauth.assertion(oauth.new_key(), client.client_id, authority.url)
        assert (await post(authority, oauth.asserted(signed))).status_code == 401

        async def refusals() -> list[Any]:
            return await system.rows("SELECT actor, detail FROM audit WHERE action = 'refused'")

        (refused,) = await eventually(refusals)
    assert client.client_id not in str(refused)


async def test_without_an_issuer_assertions_are_refused(system: System) -> None:
    key = oauth.new_key()
    async with serving(system.but(http="0.0.0.0:0")) as authority:
        client = await oauth.add(authority, jwks=oauth.jwks(key))
        signed = oauth.assertion(key, client.client_id, authority.url)
        answer = await post(authority, oauth.asserted(signed))
        assert answer.status_code == 401
        assert "RESCIND_ISSUER" in answer.json()["error_description"]


async def test_the_secret_of_a_client_is_good_for_nothing_else(shared: Running) -> None:
    client = await oauth.add(shared, introspect=True)
    assert client.secret is not None
    async with shared.as_bearer(client.secret) as bearer:
        subject = f"client:{client.client_id}"
        attempts = [
            await bearer.get("/v1/tokens"),
            await bearer.get("/v1/clients"),
            await bearer.post("/v1/rotations", json={}),
            await bearer.post("/v1/delegations", json={"subject": f"{subject}/x"}),
        ]
    assert [each.status_code for each in attempts] == [401, 401, 403, 403]
    exchanged = await post(
        shared,
        {
            "grant_type": oauth.EXCHANGE,
            "subject_token": client.secret,
            "subject_token_type": oauth.ACCESS_TOKEN,
        },
    )
    assert exchanged.status_code == 400
