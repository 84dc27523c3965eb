"""`POST /introspect`: what a consumer of RFC 7662 gets, and who may ask."""

import base64
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from tests.support.http_exchange import Answer, ask, bearer, request, served
from tests.unit.rescind_sidecar.http.conftest import plane

from rescind.testing import FakeVerifier

FORM = "Content-Type: application/x-www-form-urlencoded"
CALLER = "service:gateway"


def post(form: dict[str, str] | bytes, *headers: str, target: str = "/introspect") -> bytes:
    body = form if isinstance(form, bytes) else urlencode(form).encode()
    kind = () if any(each.startswith("Content-Type") for each in headers) else (FORM,)
    return request(target, *kind, *headers, method="POST", body=body)


def basic(client_id: str, secret: str) -> str:
    return f"Authorization: Basic {base64.b64encode(f'{client_id}:{secret}'.encode()).decode()}"


@pytest.fixture
def caller(verifier: FakeVerifier) -> str:
    """Issue the token of a caller that may introspect."""
    return verifier.issue(
        subject=CALLER, kind="service", scopes={"rescind:introspect"}, audience={"rescind"}
    ).token


@pytest.fixture
async def open_port(verifier: FakeVerifier) -> AsyncIterator[int]:
    """Serve introspection to every client that reaches the listener."""
    async with served(plane(verifier, introspection_on_loopback=True)) as (port, _):
        yield port


def members(answer: Answer) -> dict[str, object]:
    assert answer.status == 200, answer.body
    found: dict[str, object] = json.loads(answer.body)
    return found


async def test_a_good_token_is_active_and_has_the_members_of_the_rfc(
    port: int, verifier: FakeVerifier, caller: str
) -> None:
    issued = verifier.issue(subject="agent:a", scopes={"b", "a"}, audience={"search"}, tenant="t")
    answer = await ask(port, post({"token": issued.token}, bearer(caller)))
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"] == "application/json"
    found = members(answer)
    assert isinstance(found.pop("iat"), int)
    assert isinstance(found.pop("nbf"), int)
    assert found == {
        "active": True,
        "scope": "a b",
        "sub": "agent:a",
        "aud": ["search"],
        "jti": issued.token_id,
        "token_type": "Bearer",
        "rescind_kind": "agent",
        "rescind_tenant": "t",
        "rescind_as_of": 0,
    }
    assert issued.token not in answer.body.decode()


async def test_the_scope_member_has_the_scopes_that_narrows_left(
    port: int, verifier: FakeVerifier, caller: str
) -> None:
    issued = verifier.issue(scopes={"search:read", "tools:call:github"})
    verifier.narrow("subject:agent:test", remove={"tools:*"})
    found = members(await ask(port, post({"token": issued.token}, bearer(caller))))
    assert (found["scope"], found["rescind_as_of"]) == ("search:read", 1)


async def test_the_expiry_of_a_token_is_disclosed_only_if_that_is_configured(
    port: int, verifier: FakeVerifier, caller: str
) -> None:
    asked = post({"token": verifier.issue(ttl_s=600).token}, bearer(caller))
    assert "exp" not in members(await ask(port, asked))
    async with served(plane(verifier, introspection_exp=True)) as (other, _):
        found = members(await ask(other, asked))
    assert isinstance(found["exp"], int)
    assert isinstance(found["iat"], int)
    assert found["exp"] - found["iat"] == 600


async def test_a_delegated_token_names_its_chain(
    port: int, verifier: FakeVerifier, caller: str
) -> None:
    parent = verifier.issue(subject="agent:a")
    child = verifier.issue(subject="agent:a/b", parent=parent)
    found = members(await ask(port, post({"token": child.token}, bearer(caller))))
    assert (found["sub"], found["rescind_chain"]) == ("agent:a/b", ["agent:a"])


async def test_a_token_that_is_not_valid_here_is_inactive_and_nothing_else_is_disclosed(
    port: int, verifier: FakeVerifier, caller: str
) -> None:
    revoked, suspended = verifier.issue(subject="agent:r"), verifier.issue(subject="agent:s")
    verifier.revoke("subject:agent:r")
    verifier.suspend("subject:agent:s")
    for token in (
        revoked.token,
        suspended.token,
        verifier.issue(audience={"mail"}).token,
        verifier.issue(not_before_s=60).token,
        verifier.issue(addresses={"192.0.2.0/24"}).token,
        "nonsense",
        "\u20ac" * 10,
        "x" * 5_000,
    ):
        answer = await ask(port, post({"token": token}, bearer(caller)))
        assert (answer.status, answer.body) == (200, b'{"active": false}')


async def test_a_token_for_some_networks_is_active_for_an_address_in_one(
    port: int, verifier: FakeVerifier, caller: str
) -> None:
    token = verifier.issue(addresses={"192.0.2.0/24"}).token
    for address, active in (("192.0.2.7", True), ("198.51.100.7", False), ("x", False)):
        form = {"token": token, "address": address}
        assert members(await ask(port, post(form, bearer(caller))))["active"] is active


async def test_a_token_that_cannot_be_checked_is_unavailable_and_never_inactive(
    port: int, open_port: int, verifier: FakeVerifier, caller: str
) -> None:
    token = verifier.issue().token
    verifier.leased = False
    for where in (port, open_port):
        answer = await ask(where, post({"token": token}, bearer(caller)))
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert json.loads(answer.body)["error"] == "temporarily_unavailable"


@pytest.mark.parametrize("encoded", [False, True])
@pytest.mark.parametrize("hint", ["access_token", "refresh_token", "of its own"])
async def test_a_client_authenticates_by_basic_in_the_form_or_with_a_bearer_token(
    port: int, verifier: FakeVerifier, caller: str, hint: str, *, encoded: bool
) -> None:
    form = {"token": verifier.issue().token, "token_type_hint": hint}
    client_id = quote(CALLER, safe="") if encoded else CALLER
    for asked in (
        post(form, basic(client_id, caller)),
        post(form | {"client_id": CALLER}, basic(client_id, caller)),
        post(form | {"client_id": CALLER, "client_secret": caller}),
        post(form, bearer(caller)),
    ):
        assert members(await ask(port, asked))["active"] is True


async def test_an_unknown_caller_learns_nothing(
    port: int, verifier: FakeVerifier, caller: str
) -> None:
    good = verifier.issue().token
    other = verifier.issue(subject="service:other", kind="service", scopes={"rescind:introspect"})
    revoked = verifier.issue(subject="service:revoked", scopes={"rescind:introspect"})
    verifier.revoke("subject:service:revoked")
    form = {"token": good}
    for asked, scheme in (
        (post(form), "Basic"),
        (post(form, basic(CALLER, "wrong")), "Basic"),
        (post(form, basic("service:other", caller)), "Basic"),
        (post(form, basic("", caller)), "Basic"),
        (post(form, basic(CALLER, other.token)), "Basic"),
        (post(form, basic("service:revoked", revoked.token)), "Basic"),
        (post(form | {"client_id": "x", "client_secret": caller}), "Basic"),
        (post(form, bearer("wrong")), "Bearer"),
        (post(form, bearer(revoked.token)), "Bearer"),
        (post(form, "Authorization: Digest x"), "Bearer"),
    ):
        answer = await ask(port, asked)
        assert (answer.status, json.loads(answer.body)["error"]) == (401, "invalid_client")
        assert answer.headers["www-authenticate"].startswith(f'{scheme} realm="rescind"')


@pytest.mark.parametrize(
    "facts",
    [
        {"scopes": {"rescind:read"}, "audience": {"rescind"}},
        {"scopes": {"tools:*"}},
        {"scopes": set[str]()},
    ],
)
async def test_a_token_without_the_scope_may_not_introspect(
    port: int, verifier: FakeVerifier, facts: dict[str, Any]
) -> None:
    token = verifier.issue(subject=CALLER, **facts).token
    for how in (bearer(token), basic(CALLER, token)):
        answer = await ask(port, post({"token": token}, how))
        assert (answer.status, json.loads(answer.body)["error"]) == (403, "insufficient_scope")
        assert 'scope="rescind:introspect"' in answer.headers["www-authenticate"]


async def test_a_caller_s_token_is_for_rescind_and_not_for_one_service(
    port: int, verifier: FakeVerifier
) -> None:
    token = verifier.issue(scopes={"rescind:introspect"}, audience={"search"}).token
    assert (await ask(port, post({"token": token}, bearer(token)))).status == 401


async def test_on_loopback_callers_are_admitted_whatever_they_send(
    open_port: int, verifier: FakeVerifier
) -> None:
    form = {"token": verifier.issue().token}
    for headers in ((), (basic("any", "thing"),), (bearer("x"),)):
        assert members(await ask(open_port, post(form, *headers)))["active"] is True
    form |= {"client_id": "any", "client_secret": "thing"}
    assert members(await ask(open_port, post(form)))["active"] is True


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"", ["Content-Length: 0"]),
        (b"token=", []),
        (b"token_type_hint=access_token", []),
        (b"token=a&token=b", []),
        (b"token=a&address=x&address=y", []),
        (b"token=a&scope=b", []),
        (b"token=a&require=b", []),
        (b"token=a&audience=mail", []),
        (b"token=a;b=c&x=y", []),
        (b"token=%ff", []),
        (b"token=\xff", []),
        (b"&".join([b"token=a"] * 50), []),
        (b'{"token": "a"}', ["Content-Type: application/json"]),
        (b"token=a", ["Content-Type: text/plain"]),
        (b"token=a", [FORM, "Content-Type: application/x-www-form-urlencoded"]),
    ],
)
async def test_an_unusable_request_is_an_invalid_request_and_is_not_quoted(
    port: int, open_port: int, caller: str, body: bytes, headers: list[str]
) -> None:
    for where in (port, open_port):
        answer = await ask(where, post(body, bearer(caller), *headers))
        assert answer.status == 400
        said = json.loads(answer.body)
        assert said.keys() == {"error", "error_description"}
        assert said["error"] == "invalid_request"


async def test_parameters_in_the_query_are_refused(
    port: int, verifier: FakeVerifier, caller: str
) -> None:
    token = verifier.issue().token
    target = f"/introspect?token={token}"
    answer = await ask(port, post({"token": token}, bearer(caller), target=target))
    assert answer.status == 400
    assert token not in answer.body.decode()


async def test_authenticating_twice_is_an_invalid_request(
    port: int, verifier: FakeVerifier, caller: str
) -> None:
    form = {"token": verifier.issue().token}
    secret = form | {"client_id": CALLER, "client_secret": caller}
    for asked in (
        post(secret, basic(CALLER, caller)),
        post(secret, bearer(caller)),
        post(form, bearer(caller), basic(CALLER, caller)),
        post(form | {"client_secret": caller}),
        post(form | {"client_id": "other"}, basic(CALLER, caller)),
        post(form, "Authorization: Basic ???"),
        post(form, "Authorization: Basic /w=="),
    ):
        answer = await ask(port, asked)
        assert (answer.status, json.loads(answer.body)["error"]) == (400, "invalid_request")
        assert caller not in answer.body.decode()


async def test_a_charset_of_the_form_changes_nothing(
    port: int, verifier: FakeVerifier, caller: str
) -> None:
    kind = "Content-Type: Application/X-WWW-Form-Urlencoded ; charset=UTF-8"
    form = {"token": verifier.issue().token}
    assert members(await ask(port, post(form, bearer(caller), kind)))["active"] is True


async def test_only_post_is_taken(port: int) -> None:
    for method in ("GET", "PUT", "HEAD", "OPTIONS"):
        answer = await ask(port, request("/introspect", method=method))
        assert (answer.status, answer.headers["allow"]) == (405, "POST")
