"""Requests of every kind through each proxy: methods, bodies, streams, websockets, many at once."""

import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPResponse

import pytest
from tests.support.outcomes import soon, timely
from tests.support.proxies.caller import Caller, begin
from tests.support.proxies.programs import CADDY
from tests.support.proxies.site import Site
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

READ = ("search:read",)
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")
MEGABYTE = 1 << 20


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_checked_and_passed_on(caller: Caller, behind: Site, method: str) -> None:
    good = behind.link.issue(scopes=READ)
    body = b"b" * 20_000 if method in {"POST", "PUT", "PATCH"} else b""
    with caller.connected() as connection:
        for _ in range(3):
            answer = caller.send(connection, "/p", good, method=method, body=body)
            assert answer.status == 200
            assert answer.reached is not None
            assert (answer.reached.method, answer.reached.body) == (method, body)
            assert answer.body == (b"" if method == "HEAD" else b"served")
    refused = caller.call("/p", method=method, body=body)
    assert (refused.status, refused.reached) == (401, None)
    assert (refused.body == b"") == (method == "HEAD")


@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "chunked"])
def test_a_body_of_a_megabyte_reaches_the_service(
    caller: Caller, behind: Site, chunked: bool
) -> None:
    body = bytes(range(256)) * (MEGABYTE // 256)
    good = behind.link.issue(scopes=READ)
    answer = caller.call("/p", good, method="POST", body=body, chunked=chunked)
    assert answer.status == 200
    assert answer.reached is not None
    assert answer.reached.body == body


@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "chunked"])
def test_a_refused_body_never_reaches_the_service(caller: Caller, chunked: bool) -> None:
    body = b"GET /open/x HTTP/1.1\r\nHost: x\r\n\r\n" * 100  # a body that looks like calls
    with caller.connected() as connection:
        answer = caller.send(connection, "/p", method="POST", body=body, chunked=chunked)
        assert (answer.status, answer.reached) == (401, None)


def test_the_services_own_answers_are_passed_on(caller: Caller, behind: Site) -> None:
    good = behind.link.issue(scopes=READ)
    for status in (401, 403, 404, 500, 503):
        answer = caller.call(f"/status/{status}", good)
        assert (answer.status, answer.body) == (status, b"served")
        assert answer.header("x-rescind-reason") is None


def test_callers_never_get_each_others_answers(caller: Caller, behind: Site) -> None:
    names = [f"agent:{number}" for number in range(6)]

    def call(name: str) -> None:
        token = behind.link.issue(name, scopes=READ)
        for turn in range(8):
            body = b"GET /verify HTTP/1.1\r\n\r\n" * (turn % 3)
            answer = caller.call(f"/{turn}", token, method="POST", body=body)
            assert answer.reached is not None
            assert answer.reached.all("x-rescind-subject") == [name]
            anonymous = caller.call("/p", method="POST", body=b"x" * 100)
            assert (anonymous.status, anonymous.reached) == (401, None)

    with ThreadPoolExecutor(len(names)) as threads:
        list(threads.map(call, names))


def read_event(stream: HTTPResponse) -> bytes:
    return stream.readline() + stream.readline()


def test_each_event_of_a_stream_arrives_before_the_next_one_is_sent(
    caller: Caller, behind: Site
) -> None:
    good = behind.link.issue(scopes=READ)
    with caller.connected() as connection:
        name = begin(connection, "/events", good)
        stream = connection.getresponse()
        assert (stream.status, read_event(stream)) == (200, b"data: 1\n\n")
        began_s = time.monotonic()
        behind.service.release(name)
        assert read_event(stream) == b"data: 2\n\n"
        soon(time.monotonic() - began_s, at_most_s=0.1)
        behind.service.release(name)
        assert stream.read() == b"data: 3\n\n"


def test_no_proxy_cuts_a_stream_whose_token_is_revoked(caller: Caller, behind: Site) -> None:
    """A proxy sends one question, before the call: the service holds the token."""
    subject = f"agent:stream-{caller.port}"
    token = behind.link.issue(subject, scopes=READ)
    with caller.connected() as connection:
        name = begin(connection, "/events", token)
        stream = connection.getresponse()
        assert read_event(stream) == b"data: 1\n\n"
        behind.sidecar.push(behind.link.revoke(f"subject:{subject}"))
        assert caller.call("/p", token).status == 401
        for _ in range(2):
            behind.service.release(name)
        assert stream.read() == b"data: 2\n\ndata: 3\n\n"


def test_a_websocket_opens_with_a_good_token(caller: Caller, behind: Site) -> None:
    good = {"Authorization": f"Bearer {behind.link.issue(scopes=READ)}"}
    uri = f"ws://127.0.0.1:{caller.port}/socket"
    with connect(uri, additional_headers=good, proxy=None) as socket:
        socket.send("ping")
        timely(socket.recv(timeout=10) == "ping", "the echo")


def test_a_websocket_without_a_good_token_is_refused_with_its_reason(
    caller: Caller, behind: Site
) -> None:
    poor = {"Authorization": f"Bearer {behind.link.issue()}"}
    uri = f"ws://127.0.0.1:{caller.port}/socket"
    for headers, status, reason in ({}, 401, "missing"), (poor, 403, "insufficient_scope"):
        with pytest.raises(InvalidStatus) as refused:
            connect(uri, additional_headers=headers, proxy=None)
        assert refused.value.response.status_code == status
        assert refused.value.response.headers["X-Rescind-Reason"] == reason


@pytest.mark.parametrize("proxy", [CADDY], indirect=True)
def test_caddy_ignores_the_case_of_a_path(caller: Caller) -> None:
    assert caller.call("/OPEN/p").status == 200
