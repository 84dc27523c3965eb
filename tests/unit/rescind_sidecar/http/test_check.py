"""`POST /v1/check`, for languages without a client."""

import json
from datetime import datetime

import pytest
from tests.support.http_exchange import ask, request

from rescind.testing import FakeVerifier


def post(body: object, *headers: str) -> bytes:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return request("/v1/check", *headers, method="POST", body=raw)


async def test_a_good_token_is_active_and_brings_its_record(
    port: int, verifier: FakeVerifier
) -> None:
    issued = verifier.issue(subject="agent:a", scopes={"b", "a"}, labels={"team": "x"}, tenant="t")
    answer = await ask(port, post({"token": issued.token, "require": ["a"], "audience": None}))
    assert answer.status == 200
    assert answer.headers["cache-control"] == "no-store"
    content = json.loads(answer.body)
    record = content.pop("record")
    assert content == {"active": True, "as_of": 0, "fresh_for_ms": 9000}
    assert record["subject"] == "agent:a"
    assert record["scopes"] == record["scopes_granted"] == ["a", "b"]
    assert record["scopes_removed"] == []
    assert record["labels"] == {"team": "x"}
    assert record["tenant"] == "t"
    assert issued.token not in answer.body.decode()


async def test_a_record_shows_the_effective_the_granted_and_the_removed_scopes(
    port: int, verifier: FakeVerifier
) -> None:
    issued = verifier.issue(scopes={"search:read", "tools:call:github", "files:*"})
    verifier.narrow("subject:agent:test", remove={"tools:*", "files:write"})
    record = json.loads((await ask(port, post({"token": issued.token}))).body)["record"]
    assert {key: record[key] for key in record if key.startswith("scopes")} == {
        "scopes": ["search:read"],
        "scopes_granted": ["files:*", "search:read", "tools:call:github"],
        "scopes_removed": ["files:write", "tools:*"],
        "scopes_removed_count": 2,
    }
    # Times as everywhere else.
    ends = datetime.fromisoformat(record["expires_at"])
    assert record["expires_at"].endswith("Z")
    assert ends > datetime.fromisoformat(record["issued_at"])


async def test_a_denial_is_an_answer_with_its_reason(port: int, verifier: FakeVerifier) -> None:
    gone = verifier.issue()
    verifier.revoke(f"token:{gone.token_id}")
    for body, reason in (
        ({"token": gone.token}, "revoked"),
        ({"token": "nonsense"}, "malformed"),
        ({"token": verifier.issue().token, "require": ["x"]}, "insufficient_scope"),
        ({"token": verifier.issue(audience={"m"}).token}, "wrong_audience"),
    ):
        answer = await ask(port, post(body))
        assert answer.status == 200
        assert json.loads(answer.body) == {"active": False, "reason": reason}


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'"x"', b"null", {}, {"token": 1}, {"token": None}, {"token": ["x"]},
     {"token": "x" * 1025}, {"token": "x", "require": "a"}, {"token": "x", "require": [1]},
     {"token": "x", "audience": 1}, {"token": "x", "more": 1}, b'{"token": "\\ud800"}',
     b'{"token": "\xff"}', b"[" * 50_000],
)  # fmt: skip
async def test_an_unreadable_body_gets_a_problem_that_states_what_to_send(
    port: int, body: object
) -> None:
    answer = await ask(port, post(body, *(["Content-Length: 0"] if body == b"" else [])))
    assert answer.status == 422
    assert answer.headers["content-type"] == "application/problem+json"
    content = json.loads(answer.body)
    assert '"token"' in content["detail"]
    assert content["errors"]


@pytest.mark.parametrize("scope", ["", " ", "a b", "a*", "x" * 129, "é", "a\0"])
async def test_an_invalid_scope_is_refused_although_a_pattern_would_cover_it(
    port: int, verifier: FakeVerifier, scope: str
) -> None:
    token = verifier.issue(scopes={"*"}).token
    answer = await ask(port, post({"token": token, "require": ["a", scope]}))
    (problem,) = json.loads(answer.body)["errors"]
    assert (answer.status, problem["field"]) == (422, "require.1")
    assert "expected a scope" in problem["problem"]


async def test_an_answer_covers_the_min_seq_that_is_demanded(
    port: int, verifier: FakeVerifier
) -> None:
    verifier.revoke("subject:agent:other")
    token = verifier.issue().token
    covered = json.loads((await ask(port, post({"token": token, "min_seq": 1}))).body)
    assert (covered["active"], covered["as_of"]) == (True, 1)
    ahead = json.loads((await ask(port, post({"token": token, "min_seq": 2}))).body)
    assert ahead == {"active": False, "reason": "unavailable"}
    for wrong in (-1, 1.0, "1", True, None, 1 << 64):
        assert (await ask(port, post({"token": token, "min_seq": wrong}))).status == 422


async def test_a_token_in_the_wrong_place_is_not_repeated(
    port: int, verifier: FakeVerifier
) -> None:
    token = verifier.issue().token
    for body in ({token: 1}, {"token": {"x": token}}, {"token": "x", "require": token}):
        assert token not in (await ask(port, post(body))).body.decode()


async def test_only_post_is_taken(port: int) -> None:
    for method in ("GET", "PUT", "OPTIONS", "BREW"):
        answer = await ask(port, request("/v1/check", method=method))
        assert (answer.status, answer.headers["allow"]) == (405, "POST")


async def test_an_oversized_body_is_refused_before_all_of_it_has_arrived(port: int) -> None:
    assert (await ask(port, post(b"x" * 200_000))).status == 413


async def test_a_body_that_is_held_back_is_requested(port: int, verifier: FakeVerifier) -> None:
    from tests.support.http_exchange import connect_raw  # noqa: PLC0415 - the others need no connection

    sent = post({"token": verifier.issue().token}, "Expect: 100-continue")
    head, _, body = sent.partition(b"\r\n\r\n")
    async with connect_raw(port) as line:
        await line.send(head + b"\r\n\r\n")
        assert await line.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert json.loads((await line.ask(body)).body)["active"] is True
        assert (await line.ask(request("/verify"))).status == 401


async def test_a_sidecar_that_does_not_answer_is_not_alive(port: int) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        answer = await ask(port, request(path))
        assert answer.status == 503
        assert b"sidecar" in answer.body
