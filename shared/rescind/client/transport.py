"""Connections to the sidecar's socket: blocking ones for threads, a pipelined one for a loop."""

import asyncio
import socket
import struct
import threading
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import cast
from weakref import WeakKeyDictionary

from rescind.client import clock
from rescind.errors import MalformedMessageError, UnreachableError
from rescind.wire.socket_protocol import (
    Frames,
    Greeting,
    Request,
    Response,
    decode_response,
    encode_request,
)

_RECEIVE_BYTES = 65_536
_MOST_IDLE = 8
_TIMEVAL = struct.Struct("@ll")
_SHORTEST = 0.9


class NoAnswerError(UnreachableError):
    """The sidecar did not answer in time, and has not hung up: it hangs, or has too much to do."""


def unreachable(path: Path, problem: object) -> UnreachableError:
    """Make the error that says which socket was tried, and what to do."""
    # A socket's own timeout (SO_RCVTIMEO), like a full backlog, comes as BlockingIOError.
    late = isinstance(problem, (TimeoutError, BlockingIOError))
    kind = NoAnswerError if late else UnreachableError
    return kind(f"no sidecar answers at {path} ({problem}): {_advice(problem)}")


def _advice(problem: object) -> str:
    match problem:
        case PermissionError():
            return "this process may not open it: let its user join the socket's group"
        case TimeoutError() | BlockingIOError():
            return "it is stopped or has too much to do: look at its process and its log"
        case ConnectionRefusedError():
            return "it was killed, and left its socket: start `rescind sidecar` again"
        case _:
            return "start `rescind sidecar`, or correct the path"


def _left_s(ends_s: float) -> float:
    """Return the seconds left until a deadline; never 0, which means "do not block" to a socket."""
    return max(0.001, ends_s - clock.monotonic_s())


class BlockingConnection:
    """A connection for one request at a time, of one thread. Deadlines are `clock.monotonic_s`."""

    def __init__(self, path: Path, *, ends_s: float) -> None:
        self._path = path
        self._frames = Frames()
        self._ready: list[bytes] = []
        self._patience_s = 0.0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(_left_s(ends_s))
            self._socket.connect(str(path))
            self._socket.settimeout(None)  # from here on the kernel keeps the time
            greeting = self._receive(ends_s)
        except OSError as error:
            self.close()
            raise unreachable(path, error) from error
        except MalformedMessageError as error:
            self.close()
            raise unreachable(path, error) from error
        if not isinstance(greeting, Greeting):
            self.close()
            raise unreachable(path, "it does not greet as a sidecar does")
        self.greeting = greeting

    def ask(self, request: Request, *, ends_s: float) -> Response:
        """Send a request, and wait for its response. Closes itself when anything goes wrong."""
        try:
            self._be_patient(_left_s(ends_s))
            self._socket.sendall(encode_request(request))
            while True:
                response = self._receive(ends_s)
                if not isinstance(response, Greeting) and response.request == request.request:
                    return response
        except (OSError, MalformedMessageError) as error:
            self.close()
            raise unreachable(self._path, error) from error

    def _receive(self, ends_s: float) -> Response:
        while not self._ready:
            self._be_patient(_left_s(ends_s))
            received = self._socket.recv(_RECEIVE_BYTES)
            if not received:
                raise ConnectionResetError("it hung up")
            self._ready = self._frames.feed(received)
        return decode_response(self._ready.pop(0))

    def _be_patient(self, left_s: float) -> None:
        """Set the timeout of a send or a receive; it may take up to a tenth longer.

        By SO_RCVTIMEO (socket(7)): with a timeout of Python's, each takes two more system calls.
        """
        if _SHORTEST * self._patience_s <= left_s <= self._patience_s:
            return
        self._patience_s = left_s
        whole_s, rest_s = divmod(left_s, 1)
        timeval = _TIMEVAL.pack(int(whole_s), max(1, int(rest_s * 1_000_000)))
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._socket.setsockopt(socket.SOL_SOCKET, option, timeval)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


class Pool:
    """Lend blocking connections to threads. At most eight idle ones stay open."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: list[BlockingConnection] = []
        self._closed = False

    def ask(self, request: Request, *, ends_s: float) -> Response:
        """Send a request over a connection of this thread's own. Raises UnreachableError."""
        # list.pop and list.append are atomic, so this needs no lock, and survives a fork.
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = BlockingConnection(self._path, ends_s=ends_s)
        response = connection.ask(request, ends_s=ends_s)
        if len(self._idle) < _MOST_IDLE:
            self._idle.append(connection)
        else:
            connection.close()
        if self._closed:
            self.close()  # it was hung up while we asked, and could not see this one
        return response

    def adopt(self, connection: BlockingConnection) -> None:
        """Add an open connection to the pool."""
        self._idle.append(connection)

    def close(self) -> None:
        """Hang up what is idle, and later what is not."""
        self._closed = True
        while True:
            try:
                self._idle.pop().close()
            except IndexError:
                return


class _Pipeline(asyncio.Protocol):
    """Many requests at once over one connection of one event loop."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._frames = Frames()
        self._transport: asyncio.WriteTransport | None = None
        self._waiting: dict[int, asyncio.Future[Response]] = {}
        self._unsent: list[bytes] = []
        self._flowing = asyncio.Event()
        self._flowing.set()

    @property
    def open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            for message in self._frames.feed(data):
                response = decode_response(message)
                if not isinstance(response, Greeting):
                    waiting = self._waiting.pop(response.request, None)
                    if waiting is not None and not waiting.done():
                        waiting.set_result(response)
        except MalformedMessageError as error:
            self._fail(error)

    def pause_writing(self) -> None:
        self._flowing.clear()

    def resume_writing(self) -> None:
        self._flowing.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc or ConnectionResetError("it hung up"))
        self._transport = None  # it holds the loop, which must be able to go

    def _fail(self, error: Exception) -> None:
        if self._transport is not None:
            self._transport.abort()
        self._flowing.set()
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(unreachable(self._path, error))

    async def ask(self, request: Request, *, ends_s: float) -> Response:
        if not self._flowing.is_set():
            # A sidecar that does not read must not fill our memory: wait, as long as the caller.
            await asyncio.wait_for(self._flowing.wait(), _left_s(ends_s))
        if not self.open:
            raise unreachable(self._path, "it hung up")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Response] = loop.create_future()
        self._waiting[request.request] = future
        if not self._unsent:
            loop.call_soon(self._send)
        self._unsent.append(encode_request(request))
        # In place of asyncio.timeout, which costs as much as all the rest of this.
        deadline = loop.call_later(_left_s(ends_s), self._late, future)
        try:
            return await future
        finally:
            deadline.cancel()
            self._waiting.pop(request.request, None)

    def _send(self) -> None:
        """Send in one go what was asked in one turn of the loop."""
        unsent, self._unsent = self._unsent, []
        if self._transport is not None:
            self._transport.write(b"".join(unsent))

    def _late(self, future: asyncio.Future[Response]) -> None:
        if not future.done():
            future.set_exception(TimeoutError())

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class _LoopPipeline:
    """One event loop's way to the sidecar: its pipeline, and a lock so that only one is opened."""

    def __init__(self) -> None:
        self.opening = asyncio.Lock()
        self.pipeline: _Pipeline | None = None
        self._ending: AsyncGenerator[None] | None = None

    async def take(self, pipeline: _Pipeline) -> None:
        """Use a pipeline from now on, and until the loop ends."""
        if self._ending is not None:
            await self._ending.aclose()
        self.pipeline = pipeline
        # What runs at the end of a loop are the generators that it saw begin, and nothing else.
        self._ending = _closing(pipeline)
        await anext(self._ending)


async def _closing(pipeline: _Pipeline) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        pipeline.close()
        await asyncio.sleep(0)  # the loop's own step from close() to the closed socket


class Loops:
    """Keep a pipelined connection for each event loop."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._of_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopPipeline] = (
            WeakKeyDictionary()
        )

    async def ask(self, request: Request, *, ends_s: float) -> Response:
        """Send a request over this loop's connection. Raises UnreachableError."""
        of_loop = self._of_loops.get(asyncio.get_running_loop())
        pipeline = None if of_loop is None else of_loop.pipeline
        try:
            if pipeline is None or not pipeline.open:
                async with asyncio.timeout(_left_s(ends_s)):
                    pipeline = await self._pipeline()
            return await pipeline.ask(request, ends_s=ends_s)
        except TimeoutError as error:
            raise unreachable(self._path, TimeoutError("no answer in time")) from error

    async def _pipeline(self) -> _Pipeline:
        loop = asyncio.get_running_loop()
        with self._lock:
            of_loop = self._of_loops.setdefault(loop, _LoopPipeline())
        async with of_loop.opening:
            if of_loop.pipeline is None or not of_loop.pipeline.open:
                try:
                    _, pipeline = await loop.create_unix_connection(
                        lambda: _Pipeline(self._path), str(self._path)
                    )
                except OSError as error:
                    raise unreachable(self._path, error) from error
                await of_loop.take(pipeline)
                return pipeline
            return of_loop.pipeline

    def close(self) -> None:
        """Hang up in every loop that still runs; the others took their connections with them."""
        with self._lock:
            of_loops = list(self._of_loops.items())
            self._of_loops.clear()
        for loop, of_loop in of_loops:
            if of_loop.pipeline is not None and not loop.is_closed():
                loop.call_soon_threadsafe(of_loop.pipeline.close)
