"""HTTP/1.1 on one connection: llhttp parses the requests, and they are answered in their order.

    head complete  → the request is decided: a proxy may announce a body that it never sends
    body complete  → the connection stays open; if the reply is ready before, the connection ends,
                     because the body and the next request could be taken for each other
    reply ready    → written, once all earlier replies are

Bodies are read only for the paths that the application names; every other body is dropped as it
arrives. Trailers are dropped too, and bounded like a head: the decision depends on the head alone,
and no proxy checked the trailers (RFC 9110, section 6.5.1). The number of waiting requests is
bounded. While a client does not read, nothing is read from it.
"""

import asyncio
import re
from collections import deque
from collections.abc import Callable, Collection, Coroutine
from enum import Enum
from typing import Any, Final, cast

from httptools import (
    HttpParserError,
    HttpParserInvalidURLError,
    HttpParserUpgrade,
    HttpRequestParser,
    parse_url,
)

from rescind_sidecar.http.messages import HttpRequest, HttpResponse, encode, problem
from rescind_sidecar.http.roster import Roster, peer_of

Pending = Coroutine[Any, Any, HttpResponse]
Application = Callable[[HttpRequest], HttpResponse | Pending]

LOOK_S = 5.0
_MAX_IDLE_LOOKS = 15
_MAX_SLOW_LOOKS = 2
_MAX_WAITING = 64
_MAX_CONNECTIONS = 4096
_MAX_PER_PEER = 2048
_HEAD_BYTES = 65_536
_BODY_BYTES = 65_536

# A method that llhttp does not know, or that changes how it parses the following bytes (CONNECT),
# is passed to it as GET: here the method decides only whether a body is wanted.
_USUAL = (b"GET ", b"HEAD ", b"POST ", b"PUT ", b"PATCH ", b"DELETE ", b"OPTIONS ")
_METHOD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}) ")

_UNREADABLE = problem(400, "unreadable", "The request cannot be read", "Send HTTP/1.1.")
_TOO_LONG = problem(
    431,
    "head-too-long",
    "The request is too long",
    f"Its head has at most {_HEAD_BYTES} bytes, and so has what follows its body.",
)
_TOO_LARGE = problem(
    413, "body-too-large", "The body is too large", f"It has at most {_BODY_BYTES} bytes."
)
_TOO_SLOW = problem(408, "too-slow", "The request is too slow", "Send all of it at once.")
_FULL = problem(503, "full", "Too many connections", "Use fewer, and keep them open.")


class _HeadTooLongError(Exception):
    """Raised in a callback of the parser to stop it."""


class _Phase(Enum):
    """The state of a connection. It changes only forward."""

    READING = "requests are read"
    ENDING = "nothing more is read, and the last reply ends the connection"
    OVER = "the last reply is written"


# Bound here: Python 3.11 calls a function to find a member in its class.
_READING: Final = _Phase.READING
_OVER: Final = _Phase.OVER


class _Call:
    """A request that waits for its reply. `ready` is a reply made without the application."""

    __slots__ = (
        "body",
        "complete",
        "headers",
        "keeps_alive",
        "ready",
        "request",
        "target",
        "wants_body",
    )

    def __init__(self, ready: HttpResponse | None = None) -> None:
        self.target = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.request: HttpRequest | None = None
        self.ready = ready
        self.wants_body = False
        self.body = b""
        self.complete = False
        self.keeps_alive = False


class Listener:
    """Serve an application at a socket. `with_body` are the paths whose requests have a body."""

    def __init__(
        self,
        application: Application,
        tasks: asyncio.TaskGroup,
        *,
        with_body: Collection[str] = (),
    ) -> None:
        self.application = application
        self.tasks = tasks
        self.with_body = frozenset(with_body)
        self._roster = Roster(most=_MAX_CONNECTIONS, most_of_a_peer=_MAX_PER_PEER)
        self._server: asyncio.Server | None = None
        self._empty = asyncio.Event()

    @property
    def connections(self) -> "list[HttpConnection]":
        """Return the open connections."""
        return cast("list[HttpConnection]", list(self._roster))

    def attach_server(self, server: asyncio.Server) -> None:
        """Store the server whose protocols `build_protocol` makes, so that `stop` closes it."""
        self._server = server

    def build_protocol(self) -> "HttpConnection":
        """Return the protocol of a new connection."""
        return HttpConnection(self)

    def admit(self, connection: "HttpConnection", peer: bytes) -> bool:
        """Admit a connection, and close the idlest one if there are too many."""
        return self._roster.admit(connection, peer)

    def record_answer(self, connection: "HttpConnection") -> None:
        """Record that a request of a connection was answered."""
        self._roster.answered(connection)

    def remove(self, connection: "HttpConnection") -> None:
        """Remove a connection that has ended."""
        self._roster.discard(connection)
        if not self._roster:
            self._empty.set()

    async def end_idle(self) -> None:
        """End slow and idle connections until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            for connection in self.connections:
                connection.end_if_idle()

    async def stop(self, *, deadline_s: float) -> None:
        """Close the server, answer the received requests, and close all connections.

        After `deadline_s`, the remaining connections are aborted.
        """
        if self._server is not None:
            self._server.close()
        for connection in self.connections:
            connection.finish()
        if self._roster:
            self._empty.clear()
            try:
                async with asyncio.timeout(deadline_s):
                    await self._empty.wait()
            except TimeoutError:
                for connection in self.connections:
                    connection.hang_up()


class HttpConnection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._parser = HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._incoming: _Call | None = None
        self._waiting: deque[_Call] = deque()
        self._phase = _READING
        self._under_way = False
        self._write_paused = False
        self._read_paused = False
        self._head_bytes = 0  # of the head that arrives, or between the data of a body
        self._received_bytes = 0
        self._bytes_before_piece = 0  # received before the piece that is parsed now
        self._bytes_before_request = 0  # received before the piece in which the request began
        self._looks = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport, or answer 503 if the connection is not admitted."""
        self._transport = cast("asyncio.Transport", transport)
        if not self._listener.admit(self, peer_of(transport.get_extra_info("peername"))):
            self._phase = _OVER
            self._transport.write(encode(_FULL, head_only=False, last=True))
            self._close(lingering=False)

    def data_received(self, data: bytes) -> None:
        """Parse received bytes, and answer the requests that are complete."""
        if self._phase is not _READING:
            return
        self._head_bytes += len(data)
        self._bytes_before_piece = self._received_bytes
        self._received_bytes += len(data)
        try:
            self._parser.feed_data(data if self._incoming else _replace_unknown_method(data))
        except HttpParserUpgrade:
            # A request for another protocol is answered in this one, and is the last.
            self._stop_reading()
        except HttpParserError:
            if self._phase is _READING:  # a callback may have ended it
                self._end_with(_UNREADABLE)
        else:
            if self._incoming and self._head_bytes > _HEAD_BYTES:
                self._end_with(_TOO_LONG)
        self._advance()

    def on_message_begin(self) -> None:
        """Begin a request. The parser calls all methods whose names begin with `on_`."""
        self._incoming = _Call()
        self._bytes_before_request = self._bytes_before_piece
        self._looks = 0

    def on_url(self, url: bytes) -> None:
        """Append a part of the request's target."""
        if self._incoming is not None:
            self._incoming.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Store a header; ignore trailers."""
        call = self._incoming
        if call is not None and call.request is None:
            call.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Build the request, once its head is complete."""
        call = self._incoming
        if call is None:
            return
        self._head_bytes = 0
        call.keeps_alive = self._parser.should_keep_alive()
        try:
            path, query = _split(call.target)
        except HttpParserInvalidURLError:
            call.ready, path, query = _UNREADABLE, "", b""
        method = self._parser.get_method().decode("ascii")
        call.request = HttpRequest(method, path, query, call.headers)
        call.wants_body = path in self._listener.with_body
        self._waiting.append(call)
        # `data_received` counts only a head that is incomplete at the end of a piece.
        if (
            self._received_bytes - self._bytes_before_request > _HEAD_BYTES
            and _size(call) > _HEAD_BYTES
        ):
            self._end_with(_TOO_LONG)
            raise _HeadTooLongError

    def on_body(self, body: bytes) -> None:
        """Store a part of the body, if the request's path has one."""
        self._head_bytes = 0
        call = self._incoming
        if call is None or not call.wants_body or call.ready:
            return
        call.body += body
        if len(call.body) > _BODY_BYTES:
            call.ready = _TOO_LARGE

    def on_message_complete(self) -> None:
        """Mark the request as complete; another may follow."""
        call, self._incoming = self._incoming, None
        self._head_bytes = 0
        self._looks = 0
        if call is not None:
            call.complete = True

    def eof_received(self) -> bool:
        """Answer the received requests of a client that sends nothing more."""
        self._stop_reading()
        self._incoming = None
        self._advance()
        return self._under_way or bool(self._waiting)

    def _stop_reading(self) -> None:
        if self._phase is _READING:
            self._phase = _Phase.ENDING

    def _end_with(self, reply: HttpResponse) -> None:
        """Queue this reply as the last one, after those to earlier requests."""
        self._stop_reading()
        if self._incoming is not None and self._incoming in self._waiting:
            self._incoming.ready = reply
        else:
            self._waiting.append(_Call(ready=reply))
        self._incoming = None

    def _advance(self) -> None:
        """Send replies in order, as many as are possible now."""
        # Once the last reply is written, nothing waits: `_close` clears the queue.
        while self._waiting and not (self._under_way or self._write_paused):
            call = self._waiting[0]
            if call.wants_body and not (call.complete or call.ready) and self._phase is _READING:
                self._send_continue(call)
                break
            self._waiting.popleft()
            reply = call.ready or self._call_application(call)
            if isinstance(reply, HttpResponse):
                self._reply(call, reply)
            else:
                self._under_way = True
                self._listener.tasks.create_task(self._wait(call, reply))
        self._pace()

    def _call_application(self, call: _Call) -> HttpResponse | Pending:
        request = call.request
        if request is None or (call.wants_body and not call.complete):
            return _UNREADABLE
        if call.wants_body:
            request = request._replace(body=call.body)
        return self._listener.application(request)

    async def _wait(self, call: _Call, pending: Pending) -> None:
        reply = await pending
        self._under_way = False
        self._reply(call, reply)
        self._advance()

    def _send_continue(self, call: _Call) -> None:
        """Send `100 Continue` to a client that expects it (RFC 9110, 10.1.1).

        Such a client sends its body only after that.
        """
        expects = any(name.lower() == b"expect" for name, _ in call.headers)
        if expects and not call.body and self._transport is not None:
            call.headers = [each for each in call.headers if each[0].lower() != b"expect"]
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _reply(self, call: _Call, reply: HttpResponse) -> None:
        if self._transport is None or self._phase is _OVER:
            return
        last = not (call.keeps_alive and call.complete) or (
            self._phase is not _READING and not self._waiting
        )
        if last:
            self._phase = _OVER
        head_only = call.request is not None and call.request.method == "HEAD"
        self._transport.write(encode(reply, head_only=head_only, last=last))
        self._listener.record_answer(self)
        self._looks = 0
        if last:
            self._close(lingering=not call.complete)

    def _close(self, *, lingering: bool) -> None:
        """Close the connection.

        `lingering` keeps the connection open while the client still sends: a reset would overtake
        the reply.
        """
        self._stop_reading()
        self._waiting.clear()
        if self._transport is None:
            return
        if lingering and self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()

    def _pace(self) -> None:
        """Pause reading if too much is waiting; otherwise resume it."""
        full = self._write_paused or len(self._waiting) > _MAX_WAITING
        transport = self._transport
        if full is self._read_paused or transport is None or transport.is_closing():
            return
        self._read_paused = full
        if full:
            transport.pause_reading()
        else:
            transport.resume_reading()

    def pause_writing(self) -> None:
        """Stop reading from a client, and answering it, while it does not read."""
        self._write_paused = True
        self._pace()

    def resume_writing(self) -> None:
        """Resume answering and reading."""
        self._write_paused = False
        self._advance()

    def end_if_idle(self) -> None:
        """End a connection without progress; a reply under way has a deadline of its own."""
        self._looks += 1
        if self._phase is _OVER or self._write_paused:
            if self._looks > _MAX_SLOW_LOOKS:
                self.hang_up()
        elif self._incoming is not None and self._looks > _MAX_SLOW_LOOKS:
            self._end_with(_TOO_SLOW)
            self._advance()
        elif self._looks > _MAX_IDLE_LOOKS and not self._under_way:
            self.hang_up()

    def finish(self) -> None:
        """Send the replies to all received requests, then close the connection."""
        self._stop_reading()
        self._advance()
        if not self._under_way and not self._waiting and self._phase is not _OVER:
            self._close(lingering=False)

    @property
    def idle(self) -> bool:
        """Return True if the client must continue: read answers, or send the rest of a request."""
        if self._under_way:
            return False
        return self._write_paused or not self._waiting or self._waiting[0] is self._incoming

    def make_room(self) -> None:
        """End the connection, because another one needs its place."""
        if self._write_paused:
            self.hang_up()
        else:
            self._phase = _OVER
            self._close(lingering=False)

    def hang_up(self) -> None:
        """Abort the connection."""
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the connection from the listener."""
        del exc
        self._phase = _OVER
        self._transport = None
        self._waiting.clear()
        self._listener.remove(self)


def _replace_unknown_method(data: bytes) -> bytes:
    """Return the data with a method that the parser knows."""
    if data.startswith(_USUAL):
        return data
    match = _METHOD.match(data)
    return data if match is None else b"GET" + data[match.end(1) :]


def _size(call: _Call) -> int:
    """Return the size of a request's head in bytes, without the method and the blanks."""
    lines = sum(len(name) + len(value) + len(": \r\n") for name, value in call.headers)
    return len(call.target) + lines


def _split(target: bytes) -> tuple[str, bytes]:
    """Split a request's target into path and query; a proxy may send an absolute URL."""
    if target.startswith(b"/"):
        path, _, query = target.partition(b"?")
    else:
        if b"#" in target:
            # A target has no fragment (RFC 9110, section 7.1). A fragment could hide the query.
            raise HttpParserInvalidURLError("a fragment")
        url = parse_url(target)
        path, query = url.path or b"", url.query or b""
    return path.decode("latin-1"), query
