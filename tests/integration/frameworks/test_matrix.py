"""Every framework answers the same calls in the same way, and ends work with its token.

Each case runs on the example of each framework, on its real server, beside a real sidecar.
"""

import asyncio
import time
from collections.abc import Iterator
from uuid import uuid4

import httpx2
import pytest
from tests.support.eventually import eventually_blocking
from tests.support.frameworks import FRAMEWORKS, ServedExample, serving
from tests.support.outcomes import soon
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError, InvalidStatus

SOON_S = 0.7
"""Far above the few milliseconds that it takes, and far below the pause of the stream."""


@pytest.fixture(scope="module", params=FRAMEWORKS, ids=lambda each: each.name)
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServedExample]:
    with serving(request.param, tmp_path_factory.mktemp("up")) as example:
        yield example


def assert_refused(
    answer: httpx2.Response, status: int, reason: str, *, problem: bool = True
) -> None:
    assert (answer.status_code, answer.headers["x-rescind-reason"]) == (status, reason)
    assert answer.headers["cache-control"] == "no-store"
    if problem:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["reason"] == reason
    else:
        assert answer.headers["content-type"].startswith("application/json")


def test_a_good_token_reaches_the_application_with_its_record(served: ServedExample) -> None:
    answer = served.call("/", f"Bearer {served.issue('agent:good')}")
    assert (answer.status_code, answer.text.strip('"')) == (200, "agent:good")


@pytest.mark.parametrize(
    ("authorization", "reason", "challenge"),
    [
        ([], "missing", 'Bearer realm="rescind"'),
        (["Basic dXNlcjpwYXNz"], "missing", 'Bearer realm="rescind"'),
        (["Bearer made-up"], "malformed", 'Bearer error="invalid_token"'),
        (["Bearer a", "Bearer b"], "malformed", 'Bearer error="invalid_token"'),
    ],
    ids=["missing", "basic", "malformed", "two"],
)
def test_a_call_without_one_bearer_token_is_a_401(
    served: ServedExample, authorization: list[str], reason: str, challenge: str
) -> None:
    answer = served.call("/", *authorization)
    assert_refused(answer, 401, reason, problem=served.framework.problems)
    assert answer.headers["www-authenticate"] == challenge


def test_a_revoked_token_is_a_401(served: ServedExample) -> None:
    subject = f"agent:{uuid4()}"
    token = served.issue(subject)
    assert served.call("/", f"Bearer {token}").status_code == 200
    served.revoke(f"subject:{subject}")
    answer = served.call("/", f"Bearer {token}")
    assert_refused(answer, 401, "revoked", problem=served.framework.problems)


def test_a_token_of_another_service_is_a_401(served: ServedExample) -> None:
    answer = served.call("/", f"Bearer {served.issue('agent:mail', audience=('mail',))}")
    assert_refused(answer, 401, "wrong_audience", problem=served.framework.problems)


def test_a_token_without_the_scope_of_a_route_is_a_403_that_names_it(
    served: ServedExample,
) -> None:
    answer = served.call("/admin", f"Bearer {served.issue('agent:reader')}")
    assert (answer.status_code, answer.headers["x-rescind-reason"]) == (403, "insufficient_scope")
    assert answer.headers["www-authenticate"] == (
        'Bearer error="insufficient_scope", scope="admin:write"'
    )
    enough = served.issue("agent:admin", "search:read", "admin:*")
    assert served.call("/admin", f"Bearer {enough}").status_code == 200


def test_a_preflight_passes_without_a_token(served: ServedExample) -> None:
    headers = {"Origin": "https://app.example.com", "Access-Control-Request-Method": "GET"}
    answer = httpx2.options(served.url("/"), headers=headers)
    assert answer.status_code in {200, 204}


def test_a_stream_that_waits_is_broken_off_when_its_token_is_revoked(
    served: ServedExample,
) -> None:
    subject = f"agent:{uuid4()}"
    headers = {"Authorization": f"Bearer {served.issue(subject)}"}
    with httpx2.stream("GET", served.url("/stream"), headers=headers, timeout=10) as answer:
        assert answer.status_code == 200
        parts = answer.iter_raw()
        assert b"data: 1" in next(parts)
        served.revoke(f"subject:{subject}")
        revoked_s = time.monotonic()
        with pytest.raises(httpx2.RemoteProtocolError):  # not a regular end
            for _ in parts:
                pass
    soon(time.monotonic() - revoked_s, at_most_s=SOON_S)
    assert "Traceback" not in served.log.read_text()


def test_a_stream_is_broken_off_when_its_scope_is_taken_away(served: ServedExample) -> None:
    subject = f"agent:{uuid4()}"
    headers = {"Authorization": f"Bearer {served.issue(subject)}"}
    with httpx2.stream("GET", served.url("/stream"), headers=headers, timeout=10) as answer:
        parts = answer.iter_raw()
        assert b"data: 1" in next(parts)
        served.narrow(f"subject:{subject}", remove="search:read")
        with pytest.raises(httpx2.RemoteProtocolError):
            for _ in parts:
                pass


async def test_a_websocket_is_closed_with_the_reason_when_its_token_is_revoked(
    served: ServedExample,
) -> None:
    if not served.framework.websocket:
        pytest.skip("its server has no websockets")
    url = served.url("/websocket", "ws")
    with pytest.raises(InvalidStatus) as refused:
        await asyncio.wait_for(connect(url).__aenter__(), 10)
    assert refused.value.response.status_code == 401
    subject = f"agent:{uuid4()}"
    headers = {"Authorization": f"Bearer {served.issue(subject)}"}
    async with connect(url, additional_headers=headers) as websocket:
        await websocket.send("hello")
        assert await websocket.recv() == "hello"
        served.revoke(f"subject:{subject}")
        revoked_s = time.monotonic()
        with pytest.raises(ConnectionClosedError) as closed:
            await websocket.recv()
    soon(time.monotonic() - revoked_s, at_most_s=SOON_S)
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1008, "revoked")


def test_no_token_and_no_traceback_is_in_the_log(served: ServedExample) -> None:
    token = served.issue("agent:quiet")
    assert served.call("/", f"Bearer {token}").status_code == 200
    eventually_blocking(lambda: served.call("/", "Bearer made-up").status_code == 401)
    log = served.log.read_text()
    assert "rsc_" not in log
    assert "Traceback" not in log


def test_a_call_without_a_lease_is_a_503_that_says_when_to_retry(served: ServedExample) -> None:
    token = served.issue("agent:patient")
    assert served.call("/", f"Bearer {token}").status_code == 200
    served.end_lease()  # the last test of this module
    answer = served.call("/", f"Bearer {token}")
    assert_refused(answer, 503, "no_lease", problem=served.framework.problems)
    assert answer.headers["retry-after"] == "1"
    assert "www-authenticate" not in answer.headers
