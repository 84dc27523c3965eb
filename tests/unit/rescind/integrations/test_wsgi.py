"""The middleware for WSGI admits and refuses as that for ASGI, and ends responses with tokens."""

import json
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from rescind import Reason, UnreachableError, Verifier
from rescind.errors import ScopeError
from rescind.integrations.attachment import Attachment
from rescind.integrations.guard import Guard, Requirement
from rescind.integrations.thread_call import ThreadCall
from rescind.integrations.wsgi import RescindMiddleware
from rescind.testing import FakeVerifier

Environ = dict[str, Any]


class Server:
    """A server that keeps what it would send."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.written: list[bytes] = []

    def start_response(
        self, status: str, headers: list[tuple[str, str]], error: Any = None, /
    ) -> Callable[[bytes], object]:
        self.status, self.headers = int(status[:3]), dict(headers)
        return self.written.append

    def run(self, app: Any, *authorization: str, path: str = "/", **more: Any) -> bytes:
        """Serve one request as a server does, and return the body."""
        body = app(environ(*authorization, path=path, **more), self.start_response)
        try:
            parts = list(body)
        finally:
            if hasattr(body, "close"):
                body.close()
        return b"".join([*self.written, *parts])


def environ(*authorization: str, path: str = "/", **more: Any) -> Environ:
    made: Environ = {"PATH_INFO": path, "SCRIPT_NAME": "", "QUERY_STRING": ""}
    setup_testing_defaults(made)
    if authorization:
        made["HTTP_AUTHORIZATION"] = ",".join(authorization)
    return made | {"SERVER_PROTOCOL": "HTTP/1.1", "REMOTE_ADDR": "10.0.0.1"} | more


def hello(environ: Environ, start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["rescind.record"].subject.encode()]


@pytest.fixture
def verifier() -> FakeVerifier:
    return FakeVerifier(audience="search")


@pytest.fixture
def server() -> Server:
    return Server()


def test_a_good_token_reaches_the_application_with_its_record(
    verifier: FakeVerifier, server: Server
) -> None:
    agent = verifier.issue(subject="agent:a", scopes={"a"})
    app = RescindMiddleware(hello, verifier, require={"a"})
    assert server.run(app, f"Bearer {agent.token}") == b"agent:a"
    assert server.status == 200


@pytest.mark.parametrize(
    ("authorization", "status", "reason"),
    [
        ([], 401, "missing"),
        (["Basic abc"], 401, "missing"),
        (["Bearer abc"], 401, "malformed"),
        (["Bearer a", "Bearer b"], 401, "malformed"),
    ],
)
def test_a_call_without_one_token_is_refused_with_a_problem(
    verifier: FakeVerifier, server: Server, authorization: list[str], status: int, reason: str
) -> None:
    body = server.run(RescindMiddleware(hello, verifier), *authorization)
    assert (server.status, server.headers["x-rescind-reason"]) == (status, reason)
    assert json.loads(body)["reason"] == reason


def test_a_token_without_a_scope_or_for_another_service_is_refused(
    verifier: FakeVerifier, server: Server
) -> None:
    poor = f"Bearer {verifier.issue(scopes={'a'}).token}"
    server.run(RescindMiddleware(hello, verifier, require={"b"}), poor)
    assert (server.status, server.headers["www-authenticate"]) == (
        403,
        'Bearer error="insufficient_scope", scope="b"',
    )
    mail = f"Bearer {verifier.issue(audience={'mail'}).token}"
    server.run(RescindMiddleware(hello, verifier), mail)
    assert server.headers["x-rescind-reason"] == "wrong_audience"
    assert server.run(RescindMiddleware(hello, verifier, audience="mail"), mail)
    assert server.status == 200


def test_a_token_that_is_bound_to_networks_needs_the_address_of_the_caller(
    verifier: FakeVerifier, server: Server
) -> None:
    bound = f"Bearer {verifier.issue(addresses={'10.0.0.0/8'}).token}"
    app = RescindMiddleware(hello, verifier)
    server.run(app, bound)
    assert server.status == 200
    server.run(app, bound, REMOTE_ADDR="")
    assert server.headers["x-rescind-reason"] == "wrong_address"


def test_without_a_lease_or_a_sidecar_the_answer_is_a_503(
    verifier: FakeVerifier, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = f"Bearer {verifier.issue().token}"
    with verifier.without_lease():
        server.run(RescindMiddleware(hello, verifier), agent)
    assert (server.status, server.headers["x-rescind-reason"]) == (503, "no_lease")
    assert server.headers["retry-after"] == "1"
    attempts = []

    def attach() -> Verifier:
        attempts.append(1)
        raise UnreachableError("there is no sidecar")

    monkeypatch.setattr(Verifier, "attach", attach)
    app = RescindMiddleware(hello)
    for _ in range(2):
        server.run(app, agent)
        assert (server.status, server.headers["x-rescind-reason"]) == (503, "unavailable")
    assert len(attempts) == 2


def test_exempt_paths_need_no_token_and_others_below_them_do(
    verifier: FakeVerifier, server: Server
) -> None:
    def plain(environ: Environ, start_response: Any) -> Iterable[bytes]:
        assert "rescind.record" not in environ
        start_response("200 OK", [])
        return []

    app = RescindMiddleware(plain, verifier)
    server.run(app, path="/healthz")
    assert server.status == 200
    server.run(app, path="/healthz/more")
    assert server.status == 401


@pytest.mark.parametrize(("preflight", "status"), [(True, 204), (False, 401)])
def test_a_preflight_passes_only_where_that_is_set(
    verifier: FakeVerifier, server: Server, preflight: bool, status: int
) -> None:
    def cors(environ: Environ, start_response: Any) -> Iterable[bytes]:
        start_response("204 No Content", [])
        return []

    more = {
        "REQUEST_METHOD": "OPTIONS",
        "HTTP_ORIGIN": "https://app.example.com",
        "HTTP_ACCESS_CONTROL_REQUEST_METHOD": "GET",
    }
    server.run(RescindMiddleware(cors, verifier, preflight=preflight), **more)
    assert server.status == status


def test_an_invalid_scope_url_or_list_of_paths_is_an_error_at_once(verifier: FakeVerifier) -> None:
    with pytest.raises(ScopeError):
        RescindMiddleware(hello, verifier, require="a")
    with pytest.raises(ValueError, match="resource_metadata"):
        RescindMiddleware(hello, verifier, resource_metadata="nowhere")
    with pytest.raises(ValueError, match="exempt"):
        RescindMiddleware(hello, verifier, exempt="/healthz")


def test_a_response_that_has_not_begun_is_replaced_once_the_token_is_denied(
    verifier: FakeVerifier, server: Server
) -> None:
    seen = []

    def slow(environ: Environ, start_response: Any) -> Iterable[bytes]:
        verifier.revoke("subject:agent:a")
        seen.append(environ["rescind.hold"].revoked.is_set())
        start_response("200 OK", [])
        return [b"secret"]

    agent = verifier.issue(subject="agent:a")
    body = server.run(RescindMiddleware(slow, verifier), f"Bearer {agent.token}")
    assert (server.status, json.loads(body)["reason"], seen) == (401, "revoked", [True])


def test_a_response_that_has_begun_is_broken_off_as_by_a_client_that_resets(
    verifier: FakeVerifier, server: Server
) -> None:
    closed = []

    def stream(environ: Environ, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        try:
            yield b"1"
            yield b"2"
        finally:
            closed.append(True)

    agent = verifier.issue(subject="agent:a")
    body = RescindMiddleware(stream, verifier)(
        environ(f"Bearer {agent.token}"), server.start_response
    )
    assert isinstance(body, Iterator)
    assert next(body) == b"1"
    verifier.revoke("subject:agent:a")
    with pytest.raises(ConnectionResetError):
        next(body)
    body.close()  # type: ignore[attr-defined]  # the protocol has it optional
    assert closed == [True]


def test_the_end_of_a_response_is_broken_off_too(verifier: FakeVerifier, server: Server) -> None:
    def stream(environ: Environ, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"1"
        verifier.revoke("subject:agent:a")

    agent = verifier.issue(subject="agent:a")
    with pytest.raises(ConnectionResetError):
        server.run(RescindMiddleware(stream, verifier), f"Bearer {agent.token}")


def test_a_body_after_write_is_broken_off(verifier: FakeVerifier, server: Server) -> None:
    def writing(environ: Environ, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])(b"1")
        verifier.revoke("subject:agent:a")
        yield b"2"

    agent = verifier.issue(subject="agent:a")
    with pytest.raises(ConnectionResetError):
        server.run(RescindMiddleware(writing, verifier), f"Bearer {agent.token}")
    assert (server.status, server.written) == (200, [b"1"])


def test_what_write_sends_is_broken_off(verifier: FakeVerifier, server: Server) -> None:
    def writing(environ: Environ, start_response: Any) -> Iterable[bytes]:
        write = start_response("200 OK", [])
        write(b"1")
        verifier.revoke("subject:agent:a")
        write(b"2")
        return []

    agent = verifier.issue(subject="agent:a")
    with pytest.raises(ConnectionResetError):
        server.run(RescindMiddleware(writing, verifier), f"Bearer {agent.token}")
    assert server.written == [b"1"]


def test_the_connection_of_a_stream_is_shut_down_while_the_application_waits(
    verifier: FakeVerifier, server: Server
) -> None:
    def stream(environ: Environ, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"1"

    ours, theirs = socket.socketpair()
    with ours, theirs:
        agent = f"Bearer {verifier.issue(subject='agent:a').token}"
        more: Environ = {"gunicorn.socket": ours}
        first = RescindMiddleware(stream, verifier)(environ(agent, **more), server.start_response)
        assert list(first) == [b"1"]
        first.close()  # type: ignore[attr-defined]  # the protocol has it optional
        other = f"Bearer {verifier.issue(subject='agent:b').token}"
        body = RescindMiddleware(stream, verifier)(environ(other, **more), server.start_response)
        assert next(iter(body)) == b"1"
        verifier.revoke("subject:agent:a")  # its response has ended: another one has the connection
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            theirs.recv(1)
        verifier.revoke("subject:agent:b")
        assert theirs.recv(1) == b""


def test_a_hit_that_comes_as_the_response_ends_leaves_the_connection_to_the_next_request(
    verifier: FakeVerifier,
) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        agent = f"Bearer {verifier.issue().token}"
        guard = Guard(Attachment(verifier), Requirement())
        more: Environ = {"gunicorn.socket": ours}
        call = ThreadCall.begin(guard, environ(agent, **more))
        assert isinstance(call, ThreadCall)
        body = call.stream([b"1"])
        body.close()
        call.held.end(Reason.REVOKED)
        ours.send(b"next")
        assert theirs.recv(4) == b"next"


def test_an_application_that_replaces_its_head_after_an_error_may_do_so(
    verifier: FakeVerifier, server: Server
) -> None:
    def failing(environ: Environ, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        try:
            int("not a number")
        except ValueError:
            start_response("500 Internal Server Error", [], sys.exc_info())
        return [b"sorry"]

    agent = f"Bearer {verifier.issue().token}"
    assert server.run(RescindMiddleware(failing, verifier), agent) == b"sorry"
    assert server.status == 500


def test_an_error_of_the_application_passes_and_ends_the_hold(
    verifier: FakeVerifier, server: Server
) -> None:
    def failing(environ: Environ, start_response: Any) -> Iterable[bytes]:
        raise LookupError

    agent = f"Bearer {verifier.issue().token}"
    with pytest.raises(LookupError):
        server.run(RescindMiddleware(failing, verifier), agent)
    assert verifier._supervisor._registered == set()


@pytest.mark.parametrize("authorized", [True, False])
def test_the_middleware_keeps_the_rules_of_wsgi_on_both_sides(
    verifier: FakeVerifier, server: Server, authorized: bool
) -> None:
    app = validator(RescindMiddleware(validator(hello), verifier))
    agent = [f"Bearer {verifier.issue().token}"] if authorized else []
    body = app(environ(*agent), server.start_response)
    try:
        assert list(body)
    finally:
        body.close()  # type: ignore[attr-defined]  # the validator's
    assert server.status == (200 if authorized else 401)
    assert verifier._supervisor._registered == set()
