"""The middleware lets through what a verifier allows, and says everything else as RFC 6750 does."""

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import pytest

from rescind.client.verifier import Verifier
from rescind.core.verdict import Reason
from rescind.errors import DeniedError, ScopeError, UnreachableError
from rescind.integrations.asgi import RescindMiddleware
from rescind.testing import FakeVerifier

Message = MutableMapping[str, Any]


class Recorded:
    """Drive one ASGI connection and keep what was sent and what the application saw."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.seen: Message | None = None

    async def app(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        self.seen = scope
        if scope["type"] == "lifespan":
            await send({"type": "lifespan.shutdown.complete"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive(self) -> Message:
        return {"type": "websocket.connect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        status: int = self.sent[0]["status"]
        return status

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])

    @property
    def problem(self) -> dict[str, Any]:
        problem: dict[str, Any] = json.loads(self.sent[1]["body"])
        return problem


def http(*authorization: str, path: str = "/", **more: object) -> dict[str, Any]:
    headers = [(b"authorization", each.encode()) for each in authorization]
    return {"type": "http", "path": path, "headers": headers, **more}


async def call(verifier: FakeVerifier | None, scope: Message, **options: Any) -> Recorded:
    recorded = Recorded()
    middleware = RescindMiddleware(recorded.app, verifier, **options)
    await middleware(scope, recorded.receive, recorded.send)
    return recorded


@pytest.fixture
def verifier() -> FakeVerifier:
    return FakeVerifier(audience="search")


async def test_a_good_token_reaches_the_application_with_its_record(verifier: FakeVerifier) -> None:
    issued = verifier.issue(subject="agent:a", scopes=["read"])
    state = {"pool": 1}
    recorded = await call(verifier, http(f"Bearer {issued.token}", state=state), require={"read"})
    assert recorded.status == 200
    assert recorded.seen is not None
    assert recorded.seen["state"]["rescind"].subject == "agent:a"
    assert recorded.seen["state"]["pool"] == 1
    assert "rescind" not in state, "the state of the server is shared by all requests"


@pytest.mark.parametrize("authorization", [(), ("Basic dXNlcjpwYXNz",), ("Bearer",), ("Bearer  ",)])
async def test_without_a_token_the_challenge_has_no_error(
    verifier: FakeVerifier, authorization: tuple[str, ...]
) -> None:
    recorded = await call(verifier, http(*authorization))
    assert recorded.status == 401
    assert recorded.headers[b"www-authenticate"].startswith(b"Bearer ")
    assert b"error" not in recorded.headers[b"www-authenticate"]
    assert recorded.seen is None


async def test_a_revoked_token_is_an_invalid_token(verifier: FakeVerifier) -> None:
    issued = verifier.issue()
    verifier.revoke(f"token:{issued.token_id}")
    recorded = await call(verifier, http(f"bearer {issued.token}"))
    assert recorded.status == 401
    assert recorded.headers[b"www-authenticate"] == b'Bearer error="invalid_token"'
    assert recorded.headers[b"x-rescind-reason"] == b"revoked"
    assert recorded.headers[b"cache-control"] == b"no-store"
    assert recorded.headers[b"content-type"] == b"application/problem+json"
    assert recorded.problem["status"] == 401
    assert recorded.problem["reason"] == "revoked"
    assert issued.token not in json.dumps(recorded.problem)


async def test_two_authorization_headers_are_refused_even_if_both_are_good(
    verifier: FakeVerifier,
) -> None:
    one, two = verifier.issue(), verifier.issue()
    recorded = await call(verifier, http(f"Bearer {one.token}", f"Bearer {two.token}"))
    assert recorded.status == 401
    assert recorded.headers[b"x-rescind-reason"] == b"malformed"


async def test_a_missing_scope_is_403_and_names_the_scope(verifier: FakeVerifier) -> None:
    issued = verifier.issue(scopes=["read"])
    recorded = await call(verifier, http(f"Bearer {issued.token}"), require={"write", "read"})
    assert recorded.status == 403
    expected = b'Bearer error="insufficient_scope", scope="read write"'
    assert recorded.headers[b"www-authenticate"] == expected


async def test_a_token_for_another_service_is_refused(verifier: FakeVerifier) -> None:
    issued = verifier.issue(audience=["mail"])
    scope = http(f"Bearer {issued.token}")
    assert (await call(verifier, scope)).headers[b"x-rescind-reason"] == b"wrong_audience"
    assert (await call(verifier, scope, audience="mail")).status == 200


async def test_without_a_lease_it_asks_to_retry(verifier: FakeVerifier) -> None:
    issued = verifier.issue()
    verifier.leased = False
    recorded = await call(verifier, http(f"Bearer {issued.token}"))
    assert recorded.status == 503
    assert recorded.headers[b"retry-after"].isdigit()
    assert recorded.headers[b"x-rescind-reason"] == b"no_lease"
    assert b"www-authenticate" not in recorded.headers


async def test_an_exempt_path_needs_no_token_and_its_neighbours_do(verifier: FakeVerifier) -> None:
    assert (await call(verifier, http(path="/healthz"))).status == 200
    for near in ("/healthz/", "/healthz/deep", "/x/healthz", "//healthz"):
        assert (await call(verifier, http(path=near))).status == 401


async def test_a_websocket_is_closed_before_it_is_accepted(verifier: FakeVerifier) -> None:
    scope = {"type": "websocket", "path": "/ws", "headers": []}
    recorded = await call(verifier, scope)
    assert recorded.sent == [{"type": "websocket.close", "code": 1008, "reason": "missing"}]


async def test_a_websocket_gets_a_real_answer_where_the_server_can_send_one(
    verifier: FakeVerifier,
) -> None:
    extensions: dict[str, object] = {"websocket.http.response": {}}
    scope = {"type": "websocket", "path": "/ws", "headers": [], "extensions": extensions}
    recorded = await call(verifier, scope)
    assert recorded.sent[0]["type"] == "websocket.http.response.start"
    assert recorded.status == 401


async def test_a_connection_of_an_unknown_type_is_not_let_through(verifier: FakeVerifier) -> None:
    recorded = await call(verifier, {"type": "webtransport", "path": "/", "headers": []})
    assert recorded.seen is None


class Waiting:
    """An application that sends what it was given, and waits for ever; with all that was sent."""

    def __init__(self, *messages: Message) -> None:
        self.sent: list[Message] = []
        self._messages = messages
        self._come: asyncio.Queue[Message] = asyncio.Queue()
        self._come.put_nowait({"type": "websocket.connect"})

    async def app(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        if scope["type"] == "websocket":
            await receive()
        for message in self._messages:
            await send(message)
        if self.tidies_up:
            try:
                await asyncio.Event().wait()
            finally:
                await send({"type": "http.response.body", "body": b"the end"})
        await asyncio.Event().wait()

    tidies_up = False

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    async def cut(self, verifier: FakeVerifier, kind: str, *, lost: bool = False) -> list[Message]:
        """Call it, hit its token, and give what was sent after that."""
        issued = verifier.issue(subject="agent:x")
        middleware = RescindMiddleware(self.app, verifier)
        scope = {**http(f"Bearer {issued.token}"), "type": kind}

        def hit() -> None:
            if lost:
                verifier.leased = False
            else:
                verifier.revoke("subject:agent:x")

        asyncio.get_running_loop().call_later(0.01, hit)
        await middleware(scope, self._come.get, self.send)
        return self.sent[len(self._messages) :]


START = {"type": "http.response.start", "status": 200, "headers": []}
PART = {"type": "http.response.body", "body": b"x", "more_body": True}
END = {"type": "http.response.body", "body": b"x"}
ACCEPT = {"type": "websocket.accept"}
CLOSE = {"type": "websocket.close"}


@pytest.mark.parametrize(("lost", "status"), [(False, 401), (True, 503)])
async def test_a_call_whose_response_has_not_begun_gets_the_refusal(
    verifier: FakeVerifier, lost: bool, status: int
) -> None:
    start, body = await Waiting().cut(verifier, "http", lost=lost)
    assert start["status"] == status
    assert json.loads(body["body"])["reason"] == ("no_lease" if lost else "revoked")


@pytest.mark.parametrize("messages", [(START,), (START, PART)])
async def test_a_response_that_has_begun_is_left_incomplete(
    verifier: FakeVerifier, messages: tuple[Message, ...]
) -> None:
    # And nothing is raised: each layer above would log a traceback of it.
    assert await Waiting(*messages).cut(verifier, "http") == []


async def test_messages_sent_while_cleaning_up_are_dropped(verifier: FakeVerifier) -> None:
    waiting = Waiting(START, PART)
    waiting.tidies_up = True
    assert await waiting.cut(verifier, "http") == []


async def test_work_after_a_complete_response_is_cancelled_silently(
    verifier: FakeVerifier,
) -> None:
    assert await Waiting(START, END).cut(verifier, "http") == []


@pytest.mark.parametrize(
    ("messages", "lost", "said"),
    [
        ((ACCEPT,), False, [{**CLOSE, "code": 1008, "reason": "revoked"}]),
        ((ACCEPT,), True, [{**CLOSE, "code": 1013, "reason": "no_lease"}]),
        ((), False, [{**CLOSE, "code": 1008, "reason": "revoked"}]),
        ((ACCEPT, CLOSE), False, []),
    ],
    ids=["accepted", "lease lost", "not yet accepted", "closed already"],
)
async def test_a_websocket_is_closed_in_whatever_state_it_is(
    verifier: FakeVerifier, messages: tuple[Message, ...], lost: bool, said: list[Message]
) -> None:
    assert await Waiting(*messages).cut(verifier, "websocket", lost=lost) == said


async def test_a_denial_raised_by_the_application_itself_propagates(verifier: FakeVerifier) -> None:
    async def app(scope: Message, receive: object, send: object) -> None:
        raise DeniedError("expired")

    middleware = RescindMiddleware(app, verifier)
    recorded = Recorded()
    with pytest.raises(DeniedError, match="expired"):
        await middleware(http(f"Bearer {verifier.issue().token}"), recorded.receive, recorded.send)
    assert recorded.sent == []


async def test_without_hold_a_call_is_checked_only_at_its_beginning(
    verifier: FakeVerifier,
) -> None:
    recorded = Recorded()

    async def app(scope: Message, receive: Any, send: Any) -> None:
        verifier.revoke("subject:agent:x")
        await asyncio.sleep(0.01)
        await recorded.app(scope, receive, send)

    middleware = RescindMiddleware(app, verifier, hold=False)
    scope = http(f"Bearer {verifier.issue(subject='agent:x').token}")
    await middleware(scope, recorded.receive, recorded.send)
    assert recorded.status == 200
    recorded.sent.clear()
    await middleware(scope, recorded.receive, recorded.send)
    assert recorded.status == 401


async def test_the_middleware_attaches_at_the_first_call_retries_and_closes_at_shutdown(
    verifier: FakeVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[FakeVerifier | UnreachableError] = [UnreachableError("nobody"), verifier]

    def attach() -> FakeVerifier:
        match attempts.pop(0):
            case UnreachableError() as error:
                raise error
            case attached:
                return attached

    monkeypatch.setattr(Verifier, "attach", attach)
    recorded = Recorded()
    middleware = RescindMiddleware(recorded.app)
    scope = http(f"Bearer {verifier.issue().token}")
    await middleware(scope, recorded.receive, recorded.send)
    assert recorded.status == 503
    recorded.sent.clear()
    await middleware(scope, recorded.receive, recorded.send)
    assert recorded.status == 200
    await middleware({"type": "lifespan"}, recorded.receive, recorded.send)
    assert verifier.closed


async def test_a_503_without_a_sidecar_is_logged_but_not_each_time(
    verifier: FakeVerifier, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def attach() -> FakeVerifier:
        raise UnreachableError("nobody answers at /run/rescind/search.sock")

    # Tests that ran before in this process may have configured the log of a service.
    caplog.set_level("WARNING", logger="rescind")
    monkeypatch.setattr(Verifier, "attach", attach)
    recorded = Recorded()
    middleware = RescindMiddleware(recorded.app)
    token = verifier.issue().token
    for _ in range(3):
        await middleware(http(f"Bearer {token}"), recorded.receive, recorded.send)
    (told,) = caplog.records
    assert (told.name, told.levelname) == ("rescind", "WARNING")
    assert "nobody answers at /run/rescind/search.sock" in told.getMessage()
    assert token not in caplog.text
    with verifier.without_lease():
        await call(verifier, http(f"Bearer {token}"))
    assert "no_lease" in caplog.text


async def test_a_refusal_of_the_token_itself_is_not_logged(
    verifier: FakeVerifier, caplog: pytest.LogCaptureFixture
) -> None:
    await call(verifier, http("Bearer nonsense"))
    await call(verifier, http())
    assert caplog.records == []


def test_a_single_exempt_path_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="exempt"):
        RescindMiddleware(Recorded().app, exempt="/healthz")


@pytest.mark.parametrize("require", ["read", ["read write"], {""}, ("a*",)])
def test_an_invalid_collection_of_scopes_is_refused_at_once(require: Any) -> None:
    with pytest.raises(ScopeError):
        RescindMiddleware(Recorded().app, require=require)


METADATA = "https://mcp.example.com/.well-known/oauth-protected-resource"


async def test_a_challenge_names_the_url_of_the_resource_metadata(
    verifier: FakeVerifier,
) -> None:
    poor = verifier.issue()
    for authorization, require, challenge in (
        ((), (), 'Bearer realm="rescind"'),
        (("Bearer nonsense",), (), 'Bearer error="invalid_token"'),
        ((f"Bearer {poor.token}",), ("a",), 'Bearer error="insufficient_scope", scope="a"'),
    ):
        sent = http(*authorization)
        plain = await call(verifier, sent, require=require)
        assert plain.headers[b"www-authenticate"].decode() == challenge
        told = await call(verifier, sent, require=require, resource_metadata=METADATA)
        expected = f'{challenge}, resource_metadata="{METADATA}"'
        assert told.headers[b"www-authenticate"].decode() == expected


@pytest.mark.parametrize(
    "url", ["", "/path", "https://a b", 'https://a"b', "https://a\r\nb", "x:y"]
)
def test_an_invalid_metadata_url_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="resource_metadata"):
        RescindMiddleware(Recorded().app, resource_metadata=url)


def preflight(*left_out: bytes, method: str = "OPTIONS", **more: Any) -> dict[str, Any]:
    headers = [(b"origin", b"https://a.example"), (b"access-control-request-method", b"POST")]
    kept = [each for each in headers if each[0] not in left_out]
    return {"type": "http", "path": "/", "method": method, "headers": kept, **more}


async def test_a_cors_preflight_needs_no_token_where_it_is_let_through(
    verifier: FakeVerifier,
) -> None:
    assert (await call(verifier, preflight())).status == 401
    passed = await call(verifier, preflight(), preflight=True)
    assert passed.status == 200
    assert passed.seen is not None
    assert "rescind" not in passed.seen.get("state", {})


@pytest.mark.parametrize(
    "scope",
    [
        preflight(b"origin"),
        preflight(b"access-control-request-method"),
        preflight(method="POST"),
        preflight(method="GET"),
        preflight(method="options"),
        {**preflight(), "type": "websocket"},
    ],
)
async def test_a_request_that_only_resembles_a_preflight_needs_a_token(
    verifier: FakeVerifier, scope: dict[str, Any]
) -> None:
    recorded = await call(verifier, scope, preflight=True)
    assert recorded.seen is None


async def test_a_preflight_with_a_token_is_checked_like_any_call(verifier: FakeVerifier) -> None:
    scope = preflight()
    scope["headers"].append((b"authorization", b"Bearer nonsense"))
    assert (await call(verifier, scope, preflight=True)).status == 401


async def test_a_verifier_that_was_passed_in_stays_open(verifier: FakeVerifier) -> None:
    await call(verifier, {"type": "lifespan"})
    assert not verifier.closed


def test_every_reason_has_an_answer() -> None:
    from rescind.wire import bearer  # noqa: PLC0415 - only this test looks below

    for reason in Reason:
        assert bearer.refuse(reason).status in {401, 403, 503}
