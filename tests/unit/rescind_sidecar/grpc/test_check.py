"""What Envoy hears about the call that it holds (docs/integrations/envoy-grpc.md)."""

import json
from collections.abc import Collection
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from tests.unit.rescind_sidecar.grpc.conftest import (
    CheckResponse,
    authorization,
    check_request,
    check_response,
)

from rescind.client.verifier import Verifier
from rescind.testing import FakeVerifier
from rescind_sidecar.data_plane.forward_auth import ForwardAuth
from rescind_sidecar.grpc import ext_authz, health
from rescind_sidecar.grpc.check import CheckService
from rescind_sidecar.grpc.protobuf import MalformedProtobufError, write

LOOK_ALIKES = [
    f"x_rescind_{each}"
    for each in ("subject", "kind", "token_id", "scopes", "scopes_removed",
                 "scopes_removed_count", "chain", "as_of")
]  # fmt: skip


def service(
    verifier: FakeVerifier, *, stale_status: int = 503, audiences: Collection[str] = ()
) -> CheckService:
    return CheckService(
        ForwardAuth(cast("Verifier", verifier), stale_status=stale_status, audiences=audiences)
    )


async def ask(verifier: FakeVerifier, *headers: tuple[str, str], **more: object) -> CheckResponse:
    message = check_request(*headers, **more)  # type: ignore[arg-type] # passed on
    return check_response(await service(verifier).check(message))


def test_the_answers_have_these_bytes() -> None:
    denied = ext_authz.encode_denied(401, [("a", "b")], b"c")
    assert denied == bytes.fromhex(
        "0a 02 08 10"  # status: UNAUTHENTICATED
        " 12 14 0a 03 08 91 03"  # denied_response: its status, 401
        " 12 0a 0a 06 0a 01 61 12 01 62 18 02"  # its header, which overwrites
        " 1a 01 63"  # its body
    )
    allowed = ext_authz.encode_allowed(b"", as_of=7, sent=[(b"x_rescind-y", b"")])
    assert allowed == bytes.fromhex(
        "0a 02 08 00"  # status: OK, written although it is 0
        " 1a 27 12 18 0a 14 0a 0f 78 2d 72 65 73 63 69 6e 64 2d 61 73 2d 6f 66 12 01 37 18 02"
        " 2a 0b 78 5f 72 65 73 63 69 6e 64 2d 79"  # headers_to_remove
    )


async def test_a_good_token_is_allowed_with_headers_that_identify_it(
    verifier: FakeVerifier,
) -> None:
    parent = verifier.issue(subject="agent:root", scopes={"a", "b"})
    verifier.revoke("subject:agent:other")
    child = verifier.issue(subject="agent:root/x", scopes={"b", "a"}, parent=parent)
    assert await ask(verifier, authorization(child.token)) == CheckResponse(
        code=0,
        allowed=True,
        status=None,
        headers={
            "x-rescind-subject": "agent:root/x",
            "x-rescind-kind": "agent",
            "x-rescind-token-id": child.token_id,
            "x-rescind-scopes": "a b",
            "x-rescind-scopes-removed-count": "0",
            "x-rescind-chain": "agent:root",
            "x-rescind-as-of": "1",
        },
        removed=["x-rescind-scopes-removed", *LOOK_ALIKES],
        body=b"",
    )


async def test_headers_that_an_upstream_could_take_for_ours_are_removed(
    verifier: FakeVerifier,
) -> None:
    token = verifier.issue().token
    made_up = ["x-rescind-other", "x_rescind-subject", "X-Rescind_Subject", "x.rescind!token|id"]
    sent = [(name, "agent:admin") for name in (*made_up, "x-rescind-subject", "x-rescinded", "x-r")]
    answer = await ask(verifier, authorization(token), *sent)
    assert answer.headers["x-rescind-subject"] == "agent:test"
    removed = {*LOOK_ALIKES, *(name.lower() for name in made_up)}
    empty = {"x-rescind-scopes", "x-rescind-scopes-removed", "x-rescind-chain"}
    assert set(answer.removed) == removed | empty


@pytest.mark.parametrize(
    ("headers", "reason", "challenge"),
    [
        ([], "missing", 'Bearer realm="rescind"'),
        ([("authorization", "Basic dXNlcjpwdw==")], "missing", 'Bearer realm="rescind"'),
        ([authorization("nonsense")], "malformed", 'Bearer error="invalid_token"'),
        ([authorization("a")] * 2, "malformed", 'Bearer error="invalid_token"'),
        ([authorization(FakeVerifier().issue().token)], "unknown", 'Bearer error="invalid_token"'),
    ],
)
async def test_a_bad_token_is_refused_with_its_challenge_and_reason(
    verifier: FakeVerifier, headers: list[tuple[str, str]], reason: str, challenge: str
) -> None:
    answer = await ask(verifier, *headers)
    assert (answer.code, answer.allowed, answer.status) == (16, False, 401)
    assert answer.headers == {
        "content-type": "application/problem+json",
        "cache-control": "no-store",
        "x-rescind-reason": reason,
        "www-authenticate": challenge,
    }
    assert json.loads(answer.body)["reason"] == reason


async def test_two_good_tokens_are_refused_in_any_form_of_the_message(
    verifier: FakeVerifier,
) -> None:
    first, second = verifier.issue().token, verifier.issue().token
    twice = await ask(verifier, authorization(first), authorization(second))
    assert (twice.status, twice.headers["x-rescind-reason"]) == (401, "malformed")
    for value in (f"Bearer {first},Bearer {second}", f"Bearer {first},{second}"):
        # Without `encode_raw_headers`: a map, in which Envoy joins the values.
        entry = write(1, b"authorization") + write(2, value.encode())
        message = write(1, write(4, write(2, write(3, entry))))
        answer = check_response(await service(verifier).check(message))
        assert (answer.code, answer.status) == (16, 401)


async def test_a_message_without_raw_headers_is_answered_too(verifier: FakeVerifier) -> None:
    entry = write(1, b"authorization") + write(2, f"Bearer {verifier.issue().token}".encode())
    message = write(1, write(4, write(2, write(3, entry))))
    assert check_response(await service(verifier).check(message)).allowed


async def test_a_route_requires_the_scopes_of_its_extensions(verifier: FakeVerifier) -> None:
    token = verifier.issue(scopes={"a", "b"}).token
    for extensions in ([("require", "a b")], [("scope", "b")], [("require", "a"), ("scope", "b")]):
        assert (await ask(verifier, authorization(token), extensions=extensions)).allowed
    answer = await ask(verifier, authorization(token), extensions=[("require", "a c")])
    assert (answer.code, answer.status) == (7, 403)
    assert answer.headers["www-authenticate"] == ('Bearer error="insufficient_scope", scope="a c"')


@pytest.mark.parametrize(
    "extensions",
    [
        [("requires", "a")],
        [("require", "")],
        [("require", "a,b")],
        [("require", "a;b")],
        [("require", "a\x00")],
        [("audience", "")],
        [("audience", "mail")],
        [("audience", "search"), ("audience", "mail")],
        [("min_seq", "latest")],
        [("", "")],
        [("require", "a"), ("note", "secret")],
    ],
)
async def test_a_route_that_cannot_be_used_is_denied_whatever_the_token(
    verifier: FakeVerifier, extensions: list[tuple[str, str]]
) -> None:
    token = verifier.issue(scopes={"a*"}).token
    with capture_logs() as logged:
        answer = await ask(verifier, authorization(token), extensions=extensions)
    assert (answer.code, answer.allowed, answer.status) == (13, False, 500)
    assert json.loads(answer.body)["type"] == "urn:rescind:problem:invalid-route"
    assert b"secret" not in answer.body
    assert [each["action"] for each in logged] == ["grpc.route_refused"]


async def test_an_audience_of_the_settings_may_be_named(verifier: FakeVerifier) -> None:
    token = verifier.issue(audience={"mail"}).token
    named = check_request(authorization(token), extensions=[("audience", "mail")])
    own = check_request(authorization(token))
    listing = service(verifier, audiences=("mail",))
    assert check_response(await listing.check(named)).allowed
    answer = check_response(await listing.check(own))
    assert (answer.status, answer.headers["x-rescind-reason"]) == (401, "wrong_audience")


async def test_the_address_is_the_one_that_envoy_found(verifier: FakeVerifier) -> None:
    token = verifier.issue(addresses=["192.0.2.0/24"]).token
    assert (await ask(verifier, authorization(token), address="192.0.2.9")).allowed
    for address in ("198.51.100.1", "", None, "nonsense"):
        made_up = ("x-forwarded-for", "192.0.2.9")
        answer = await ask(verifier, authorization(token), made_up, address=address)
        assert (answer.status, answer.headers["x-rescind-reason"]) == (401, "wrong_address")


async def test_without_a_lease_a_call_is_asked_to_come_again(verifier: FakeVerifier) -> None:
    sent = check_request(authorization(verifier.issue().token))
    with verifier.without_lease():
        answer = check_response(await service(verifier).check(sent))
        mild = check_response(await service(verifier, stale_status=401).check(sent))
    assert (answer.code, answer.status, answer.headers["retry-after"]) == (14, 503, "1")
    assert answer.headers["x-rescind-reason"] == "no_lease"
    assert (mild.code, mild.status, mild.headers["retry-after"]) == (16, 401, "1")


async def test_a_malformed_message_is_denied(verifier: FakeVerifier) -> None:
    good = check_request(authorization(verifier.issue().token))
    answering = service(verifier)
    assert check_response(await answering.check(good)).allowed
    for message in (good[:-1], good + good, b"\xff", good + b"\x0a", b"\x08\x01"):
        answer = check_response(await answering.check(message))
        assert (answer.code, answer.allowed, answer.status) == (3, False, 400)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
async def test_no_change_of_a_message_without_a_good_token_is_allowed(
    verifier: FakeVerifier, data: st.DataObject
) -> None:
    message = bytearray(check_request(authorization("rsc_agt_none"), extensions=[("require", "a")]))
    for _ in range(data.draw(st.integers(0, 4))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    del message[data.draw(st.integers(0, len(message))) :]
    with capture_logs():
        answer = check_response(await service(verifier).check(bytes(message)))
    assert not answer.allowed
    assert answer.code != 0


def test_the_health_service_knows_its_services_alone() -> None:
    for name in (b"", b"envoy.service.auth.v3.Authorization", b"grpc.health.v1.Health"):
        assert health.check(write(1, name)).hex() == "0801"  # SERVING
    assert health.check(b"").hex() == "0801"
    with pytest.raises(health.UnknownServiceError):
        health.check(write(1, b"other"))
    with pytest.raises(MalformedProtobufError):
        health.check(b"\x0a")
