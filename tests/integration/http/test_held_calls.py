"""A held call ends within milliseconds of a hit, at a real server, also when nothing happens on it.

The application sends nothing after its first words, and waits for ever: who ends the call is not
the next chunk.
"""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from tests.support.asgi_server import serving
from tests.support.http_exchange import bearer, connect_raw, request
from tests.support.outcomes import soon
from tests.support.sidecar import LedgerInMemory, RunningSidecar, running
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError

from rescind import Verifier
from rescind.integrations.asgi import RescindMiddleware

Message = MutableMapping[str, Any]

# Far above the few milliseconds that it takes, and below the second of any second chance.
SOON_S = 0.7


class Application:
    """Three endpoints that wait for ever, and what becomes of them."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.cancelled = threading.Event()

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
        elif scope["path"] == "/stream":
            headers = [(b"content-type", b"text/event-stream")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        try:
            self.began.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


async def ticks(pause_s: float) -> AsyncIterator[str]:
    yield "data: 1\n\n"
    while True:
        await asyncio.sleep(pause_s)
        yield "data: more\n\n"


async def events() -> AsyncIterator[dict[str, str]]:
    yield {"data": "1"}
    await asyncio.Event().wait()


def framework(verifier: Verifier) -> Starlette:
    """Streams as a framework makes them, in task groups of its own and behind its middleware."""
    held: Any = RescindMiddleware

    async def pass_on(request: Request, call_next: RequestResponseEndpoint) -> Response:
        return await call_next(request)

    return Starlette(
        routes=[
            Route("/idle", lambda _: StreamingResponse(ticks(3_600))),
            Route("/busy", lambda _: StreamingResponse(ticks(0.001))),
            Route("/events", lambda _: EventSourceResponse(events(), sep="\n")),
        ],
        middleware=[
            Middleware(held, verifier=verifier),  # the outermost: see its docstring
            Middleware(BaseHTTPMiddleware, dispatch=pass_on),
        ],
    )


@dataclass(frozen=True)
class ServedSystem:
    """A sidecar, and a server beside it."""

    link: LedgerInMemory
    sidecar: RunningSidecar
    application: Application
    port: int
    framework_port: int

    async def hit(self, *, lost: bool) -> float:
        """Revoke agent:x, or have the sidecar lose its lease; say when."""
        if not lost:
            self.sidecar.push(self.link.revoke("subject:agent:x"))
            return time.monotonic()
        self.link.reachable = False
        while self.sidecar.leased:
            await asyncio.sleep(0.002)
        return time.monotonic()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[ServedSystem]:
    link, application = LedgerInMemory(term_ms=1_000), Application()
    with running(tmp_path / "search.sock", link) as sidecar:
        verifier = Verifier.attach(sidecar.path, timeout_s=5)
        guarded: Any = RescindMiddleware(application, verifier)
        with serving(guarded) as port, serving(framework(verifier)) as other:
            yield ServedSystem(link, sidecar, application, port, other)
        verifier.close()


@pytest.mark.parametrize("lost", [False, True], ids=["revoked", "no lease"])
async def test_an_idle_event_stream_is_broken_off(
    served: ServedSystem, lost: bool, caplog: pytest.LogCaptureFixture
) -> None:
    token = served.link.issue("agent:x")
    async with connect_raw(served.port) as client:
        await client.send(request("/stream", bearer(token)))
        await client.reader.readuntil(b"data: 1\n\n")
        hit_s = await served.hit(lost=lost)
        rest = await client.reader.read()
        soon(time.monotonic() - hit_s, at_most_s=SOON_S)
    assert b"0\r\n\r\n" not in rest, "it looks like a whole answer"
    assert served.application.cancelled.wait(5)
    assert [each for each in caplog.records if each.exc_info] == []


@pytest.mark.parametrize(("lost", "said"), [(False, (1008, "revoked")), (True, (1013, "no_lease"))])
async def test_an_idle_websocket_is_closed_with_the_reason(
    served: ServedSystem, lost: bool, said: tuple[int, str]
) -> None:
    headers = {"Authorization": f"Bearer {served.link.issue('agent:x')}"}
    async with connect(f"ws://127.0.0.1:{served.port}/", additional_headers=headers) as websocket:
        await asyncio.to_thread(served.application.began.wait, 5)
        hit_s = await served.hit(lost=lost)
        with pytest.raises(ConnectionClosedError) as closed:
            await websocket.recv()
        soon(time.monotonic() - hit_s, at_most_s=SOON_S)
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == said
    assert served.application.cancelled.wait(5)


@pytest.mark.parametrize(("lost", "said"), [(False, (401, "revoked")), (True, (503, "no_lease"))])
async def test_a_tool_call_of_an_agent_in_progress_is_cancelled_and_refused(
    served: ServedSystem, lost: bool, said: tuple[int, str]
) -> None:
    token = served.link.issue("agent:x")
    async with connect_raw(served.port) as client:
        await client.send(request("/tool", bearer(token)))
        await asyncio.to_thread(served.application.began.wait, 5)
        hit_s = await served.hit(lost=lost)
        answer = await client.answer()
        soon(time.monotonic() - hit_s, at_most_s=SOON_S)
    assert (answer.status, json.loads(answer.body)["reason"]) == said
    assert served.application.cancelled.wait(5)


@pytest.mark.parametrize("path", ["/idle", "/busy", "/events"])
async def test_a_stream_of_a_framework_is_broken_off_without_a_traceback(
    served: ServedSystem, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    token = served.link.issue("agent:x")
    async with connect_raw(served.framework_port) as client:
        await client.send(request(path, bearer(token)))
        await client.reader.readuntil(b"data: 1\n")
        hit_s = await served.hit(lost=False)
        rest = await client.reader.read()
        soon(time.monotonic() - hit_s, at_most_s=SOON_S)
    assert not rest.endswith(b"0\r\n\r\n"), "it looks like a whole answer"
    told = [each for each in caplog.records if each.levelname == "ERROR"]
    assert [each for each in told if each.exc_info] == []
    assert len(told) <= 1, "a thousand agents that are revoked are a thousand lines at most"


async def test_a_stream_under_another_token_goes_on(served: ServedSystem) -> None:
    token = served.link.issue("agent:y")
    async with connect_raw(served.port) as client:
        await client.send(request("/stream", bearer(token)))
        await client.reader.readuntil(b"data: 1\n\n")
        served.sidecar.push(served.link.revoke("subject:agent:x"))
        assert not await asyncio.to_thread(served.application.cancelled.wait, 0.2)
        served.sidecar.push(
            served.link.revoke("subject:agent:y")
        )  # or the server waits for its end
        await client.reader.read()
