"""The service behind the proxies: it records each call, and answers as the path says."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.support import asgi_server

CALL = "x-call"
"""The header that names a call, so that a test finds what reached the service."""


@dataclass(frozen=True, slots=True)
class Reached:
    """A call as the service received it. Header names are in lower case."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""

    def all(self, name: str) -> list[str]:
        """Return the values of a header."""
        return [text for each, text in self.headers if each == name]

    def like(self, prefix: str) -> dict[str, list[str]]:
        """Return the values that CGI would read under names with a prefix, by those names."""
        found: dict[str, list[str]] = {}
        for each, text in self.headers:
            name = "".join(letter if letter.isalnum() else "-" for letter in each)
            if name.startswith(prefix):
                found.setdefault(name, []).append(text)
        return found


@dataclass(slots=True)
class Service:
    """An ASGI application: `…/events` is a stream of three events, `…/status/N` answers N."""

    calls: dict[str, Reached] = field(default_factory=dict)
    port: int = 0
    _released: dict[str, asyncio.Semaphore] = field(default_factory=dict)
    _loop: asyncio.AbstractEventLoop | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = tuple((name.decode(), text.decode("latin-1")) for name, text in scope["headers"])
        call = dict(headers).get(CALL, "")
        body = b""
        if scope["type"] == "http":
            body = await _read(receive)
        path = scope.get("raw_path", scope["path"].encode()).decode()
        query = scope["query_string"].decode()
        self.calls[call] = Reached(
            scope.get("method", "GET"), f"{path}?{query}" if query else path, headers, body
        )
        if scope["type"] == "websocket":
            await _echo(receive, send)
        elif path.endswith("/events"):
            await self._stream(call, send)
        else:
            number = path.rpartition("/status/")[2]
            await _answer(int(number) if number.isdecimal() else 200, send)

    async def _stream(self, call: str, send: Any) -> None:
        self._loop = asyncio.get_running_loop()
        released = self._released[call] = asyncio.Semaphore(0)
        head = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        for number in (1, 2, 3):
            event = b"data: %d\n\n" % number
            await send({"type": "http.response.body", "body": event, "more_body": number < 3})
            if number < 3:
                await released.acquire()

    def release(self, call: str) -> None:
        """Let a stream send its next event."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._released[call].release)


async def _read(receive: Any) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def _answer(status: int, send: Any) -> None:
    body = b"" if status in {204, 304} else b"served"
    head = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})


async def _echo(receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


@contextmanager
def running() -> Iterator[Service]:
    """Serve for the block, in a thread."""
    service = Service()
    with asgi_server.serving(service) as port:
        service.port = port
        yield service
