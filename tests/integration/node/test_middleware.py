"""Express and Fastify answer as the Python middleware does, beside a sidecar of `rescind up`."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from tests.integration.node.conftest import System, serving
from tests.support import http_exchange
from tests.support.eventually import eventually
from tests.support.http_exchange import connect_raw
from tests.support.sidecar import LedgerInMemory, running

from rescind.core.verdict import Reason
from rescind.wire import bearer

PREFLIGHT = {"Origin": "https://app.example.com", "Access-Control-Request-Method": "GET"}


@pytest.fixture
def http(service: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=service, timeout=30, trust_env=False) as client:
        yield client


@pytest.fixture
def token(system: System, request: pytest.FixtureRequest) -> str:
    """Return a token of a subject of this test alone."""
    return system.issue(subject(request))


def subject(request: pytest.FixtureRequest) -> str:
    return f"agent:{request.node.name.partition('[')[0][:60]}-{request.node.callspec.id}"


def bearing(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def assert_refused(answer: httpx2.Response, reason: Reason, *require: str) -> None:
    """Compare a refusal with that of the Python middleware, header by header."""
    expected = bearer.refuse(reason, require=require)
    assert answer.status_code == expected.status
    headers = {name: text for name, text in expected.headers if name != "content-length"}
    assert {name: answer.headers.get(name) for name in headers} == headers
    for absent in {"www-authenticate", "retry-after"} - headers.keys():
        assert absent not in answer.headers
    assert json.loads(answer.content) == json.loads(expected.body)


def test_a_good_token_is_served_and_the_application_sees_its_record(
    http: httpx2.Client, token: str, request: pytest.FixtureRequest
) -> None:
    answer = http.get("/", headers=bearing(token))
    assert answer.status_code == 200
    assert answer.json() == {"subject": subject(request), "scopes": ["search:read"]}


def test_a_call_without_a_token_is_refused_and_one_outside_the_middleware_is_not(
    http: httpx2.Client,
) -> None:
    assert_refused(http.get("/"), Reason.MISSING)
    assert_refused(http.get("/", headers={"Authorization": "Basic YTpi"}), Reason.MISSING)
    assert http.get("/healthz").status_code == 200


def test_a_text_that_is_not_a_token_and_two_tokens_are_malformed(
    http: httpx2.Client, token: str
) -> None:
    assert_refused(http.get("/", headers=bearing("nonsense")), Reason.MALFORMED)
    twice = [("Authorization", f"Bearer {token}"), ("Authorization", f"Bearer {token}")]
    assert_refused(http.get("/", headers=twice), Reason.MALFORMED)


def test_a_missing_scope_is_named_and_a_route_may_require_more(
    http: httpx2.Client, token: str, system: System, request: pytest.FixtureRequest
) -> None:
    poor = system.issue(subject(request), "files:read")
    assert_refused(http.get("/", headers=bearing(poor)), Reason.INSUFFICIENT_SCOPE, "search:read")
    assert_refused(
        http.delete("/", headers=bearing(token)), Reason.INSUFFICIENT_SCOPE, "search:write"
    )
    able = system.issue(subject(request), "search:*")
    assert http.delete("/", headers=bearing(able)).status_code == 204


def test_a_token_for_another_service_is_refused(
    http: httpx2.Client, system: System, request: pytest.FixtureRequest
) -> None:
    here = system.issue(subject(request), audience=("service-1",))
    both = system.issue(subject(request), audience=("service-1", "elsewhere"))
    assert http.get("/", headers=bearing(here)).status_code == 200
    assert_refused(http.get("/elsewhere", headers=bearing(here)), Reason.WRONG_AUDIENCE)
    assert http.get("/elsewhere", headers=bearing(both)).status_code == 204


def test_a_preflight_passes_and_any_other_options_needs_a_token(http: httpx2.Client) -> None:
    answer = http.options("/", headers=PREFLIGHT)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "https://app.example.com"
    assert_refused(http.options("/"), Reason.MISSING)


@pytest.mark.parametrize("reason", [Reason.REVOKED, Reason.SUSPENDED])
def test_a_token_is_refused_once_its_revocation_is_enforced(
    http: httpx2.Client, system: System, request: pytest.FixtureRequest, reason: Reason
) -> None:
    name = subject(request)
    header = bearing(system.issue(name))
    assert http.get("/", headers=header).status_code == 200
    effect = system.admin.revoke if reason is Reason.REVOKED else system.admin.suspend
    effect(f"subject:{name}", reason="a test", wait=True)
    assert_refused(http.get("/", headers=header), reason)


def test_an_event_stream_is_cut_when_its_token_is_revoked(
    http: httpx2.Client, token: str, system: System, request: pytest.FixtureRequest
) -> None:
    with http.stream("GET", "/events", headers=bearing(token)) as answer:
        assert answer.status_code == 200
        chunks = answer.iter_raw()
        assert next(chunks) == b"data: begun\n\n"
        system.admin.revoke(f"subject:{subject(request)}", reason="a test")
        with pytest.raises(httpx2.RemoteProtocolError):  # not ended as a complete response is
            list(chunks)


async def test_a_call_without_a_response_yet_gets_the_refusal(
    service: str, token: str, system: System, request: pytest.FixtureRequest
) -> None:
    """What the application writes afterwards is ignored, and the server still serves."""
    async with connect_raw(int(service.rpartition(":")[2])) as line:
        await line.send(http_exchange.request("/slow", http_exchange.bearer(token)))
        begun = await line.reader.readuntil(b"\r\n\r\n")
        assert begun.startswith(b"HTTP/1.1 102 ")
        await asyncio.to_thread(system.admin.revoke, f"subject:{subject(request)}", reason="a test")
        answer = await line.answer()
        assert (answer.status, answer.headers["x-rescind-reason"]) == (401, "revoked")
        assert json.loads(answer.body)["reason"] == "revoked"
        assert (await line.ask(http_exchange.request("/"))).status == 401


async def test_the_end_of_the_lease_cuts_a_stream_and_gives_503(
    example: Path, tmp_path: Path, framework: str
) -> None:
    link = LedgerInMemory(term_ms=1_000)
    socket = tmp_path / "search.sock"
    with running(socket, link), serving(example, framework, str(socket)) as url:
        held = bearing(link.issue(scopes=("search:read",)))
        async with httpx2.AsyncClient(base_url=url, timeout=30, trust_env=False) as http:
            async with http.stream("GET", "/events", headers=held) as answer:
                assert answer.status_code == 200
                link.reachable = False
                with pytest.raises(httpx2.RemoteProtocolError):
                    await answer.aread()
            refused = await eventually(
                lambda: http.get("/", headers=held), until=lambda seen: seen.status_code != 200
            )
            assert_refused(refused, Reason.NO_LEASE)
        link.reachable = True
    with serving(example, framework, str(socket)) as url:
        assert_refused(httpx2.get(url, headers=held, trust_env=False), Reason.UNAVAILABLE)
