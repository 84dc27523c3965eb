"""The middleware of aiohttp admits, refuses, and ends calls with their token."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientPayloadError, WSMsgType, web
from aiohttp.test_utils import TestClient, TestServer

from rescind.errors import ScopeError
from rescind.integrations.aiohttp import RECORD, requires, setup
from rescind.testing import FakeVerifier

Client = TestClient[web.Request, web.Application]


class Application:
    """Handlers that revoke their caller's token while they work."""

    def __init__(self, verifier: FakeVerifier) -> None:
        self.verifier = verifier

    async def search(self, request: web.Request) -> web.Response:
        return web.Response(text=request[RECORD].subject)

    async def save(self, request: web.Request) -> web.Response:
        return web.Response(text="saved")

    async def write_slowly(self, request: web.Request) -> web.Response:
        self.verifier.narrow("subject:agent:a", remove={"write"})
        await asyncio.Event().wait()
        return web.Response(text="saved")

    async def fail(self, request: web.Request) -> web.Response:
        raise LookupError

    async def missing(self, request: web.Request) -> web.Response:
        raise web.HTTPNotFound

    async def stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        async for part in self.parts():
            await response.write(part)
        return response

    async def body(self, request: web.Request) -> web.Response:
        return web.Response(body=self.parts())

    async def parts(self) -> AsyncIterator[bytes]:
        yield b"1"
        self.verifier.revoke("subject:agent:a")
        await asyncio.Event().wait()

    async def websocket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.receive()
        if request.query:
            self.verifier.leased = False
        self.verifier.revoke("subject:agent:a")
        await socket.receive()
        return socket


def build(verifier: FakeVerifier) -> web.Application:
    handlers, app = Application(verifier), web.Application()
    setup(app, verifier, require={"search"}, exempt=["/open"], preflight=True)
    app.add_routes(
        [
            web.get("/", handlers.search),
            web.options("/", handlers.missing),
            web.get("/save", requires("write")(handlers.save)),
            web.get("/write-slowly", requires("write")(handlers.write_slowly)),
            web.get("/fail", handlers.fail),
            web.get("/open", handlers.missing),
            web.get("/stream", handlers.stream),
            web.get("/body", handlers.body),
            web.get("/websocket", handlers.websocket),
        ]
    )
    return app


@pytest.fixture
def verifier() -> FakeVerifier:
    return FakeVerifier(audience="search")


@pytest.fixture
async def client(verifier: FakeVerifier) -> AsyncIterator[Client]:
    async with TestClient(TestServer(build(verifier))) as client:
        yield client
    assert verifier._supervisor._registered == set()
    assert not verifier.closed, "it belongs to the test"


async def test_a_good_token_reaches_the_handler_with_its_record(
    client: Client, verifier: FakeVerifier
) -> None:
    agent = verifier.issue(subject="agent:a", scopes={"search"})
    async with client.get("/", headers=agent.headers) as answer:
        assert (answer.status, await answer.text()) == (200, "agent:a")


async def test_a_refusal_has_the_status_and_the_headers_of_every_integration(
    client: Client, verifier: FakeVerifier
) -> None:
    async with client.get("/nowhere") as missing:
        assert (missing.status, missing.content_type) == (401, "application/problem+json")
        assert missing.headers["www-authenticate"] == 'Bearer realm="rescind"'
    two = [("Authorization", "Bearer a"), ("Authorization", "Bearer b")]
    async with client.get("/", headers=two) as joined:
        assert joined.headers["x-rescind-reason"] == "malformed"
    with verifier.without_lease():
        async with client.get("/", headers=verifier.issue().headers) as stale:
            assert (stale.status, stale.headers["retry-after"]) == (503, "1")


async def test_exempt_paths_and_preflights_reach_their_handlers(client: Client) -> None:
    preflight = {"Origin": "https://a.example", "Access-Control-Request-Method": "GET"}
    async with client.get("/open") as answer, client.options("/", headers=preflight) as passed:
        assert (answer.status, passed.status) == (404, 404)
    for headers in ({}, preflight | {"Authorization": "Bearer abc"}):
        async with client.options("/", headers=headers) as refused:
            assert refused.status == 401


async def test_a_handler_may_need_more_scopes(client: Client, verifier: FakeVerifier) -> None:
    poor, rich = verifier.issue(scopes={"search"}), verifier.issue(scopes={"search", "write"})
    async with client.get("/save", headers=poor.headers) as refused:
        assert (refused.status, refused.headers["x-rescind-reason"]) == (403, "insufficient_scope")
    async with client.get("/save", headers=rich.headers) as saved:
        assert saved.status == 200


async def test_a_handler_is_cancelled_and_refused_when_its_own_scope_is_taken_away(
    client: Client, verifier: FakeVerifier
) -> None:
    agent = verifier.issue(subject="agent:a", scopes={"search", "write"})
    async with client.get("/write-slowly", headers=agent.headers) as refused:
        assert (refused.status, refused.headers["x-rescind-reason"]) == (403, "insufficient_scope")


@pytest.mark.parametrize("path", ["/stream", "/body"])
async def test_a_response_that_has_begun_is_broken_off(
    client: Client, verifier: FakeVerifier, path: str
) -> None:
    agent = verifier.issue(subject="agent:a", scopes={"search"})
    async with client.get(path, headers=agent.headers) as answer:
        assert answer.status == 200
        with pytest.raises(ClientPayloadError):
            await answer.read()


@pytest.mark.parametrize(("query", "code"), [("", 1008), ("?lost=1", 1013)])
async def test_a_websocket_is_closed_with_the_reason(
    client: Client, verifier: FakeVerifier, query: str, code: int
) -> None:
    agent = verifier.issue(subject="agent:a", scopes={"search"})
    async with client.ws_connect(f"/websocket{query}", headers=agent.headers) as websocket:
        await websocket.send_str("go")
        closed = await websocket.receive()
    assert (closed.type, closed.data) == (WSMsgType.CLOSE, code)


async def test_an_error_of_a_handler_passes(client: Client, verifier: FakeVerifier) -> None:
    agent = verifier.issue(scopes={"search"})
    async with client.get("/fail", headers=agent.headers) as answer:
        assert answer.status == 500


def test_an_invalid_scope_is_an_error_at_once() -> None:
    with pytest.raises(ScopeError):
        requires("a scope")
    with pytest.raises(ScopeError):
        setup(web.Application(), require="search")
    with pytest.raises(ValueError, match="exempt"):
        setup(web.Application(), exempt="/open")
