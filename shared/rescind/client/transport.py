"""Connections to the sidecar's socket: blocking for threads, pipelined for an event loop."""

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
_MAX_IDLE = 8
_TIMEVAL = struct.Struct("@ll")
_TIMEOUT_TOLERANCE = 0.9


class NoAnswerError(UnreachableError):
    """Raised when a connected sidecar does not answer in time: it hangs, or is overloaded."""


def unreachable_error(path: Path, problem: object) -> UnreachableError:
    """Return the error for a socket, with its path and the advice."""
    # The kernel's timeout of a socket (SO_RCVTIMEO) and a full backlog raise BlockingIOError.
    late = isinstance(problem, (TimeoutError, BlockingIOError))
    kind = NoAnswerError if late else UnreachableError
    return kind(f"no sidecar answers at {path} ({problem}): {_advise(problem)}")


def _advise(problem: object) -> str:
    match problem:
        case PermissionError():
            return "this process may not open it: let its user join the socket's group"
        case TimeoutError() | BlockingIOError():
            return "it is stopped or has too much to do: look at its process and its log"
        case ConnectionRefusedError():
            return "it was killed, and left its socket: start `rescind sidecar` again"
        case _:
            return "start `rescind sidecar`, or correct the path"


def _seconds_until(deadline_s: float) -> float:
    """Return the seconds until a deadline; never 0, which makes a socket non-blocking."""
    return max(0.001, deadline_s - clock.monotonic_s())


class BlockingConnection:
    """A connection of one thread, for one request at a time. Deadlines are `clock.monotonic_s`."""

    def __init__(self, path: Path, *, deadline_s: float) -> None:
        self._path = path
        self._frames = Frames()
        self._ready: list[bytes] = []
        self._timeout_s = 0.0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(_seconds_until(deadline_s))
            self._socket.connect(str(path))
            self._socket.settimeout(None)  # from here on, the kernel measures the timeout
            greeting = self._receive(deadline_s)
        except OSError as error:
            self.close()
            raise unreachable_error(path, error) from error
        except MalformedMessageError as error:
            self.close()
            raise unreachable_error(path, error) from error
        if not isinstance(greeting, Greeting):
            self.close()
            raise unreachable_error(path, "it does not greet as a sidecar does")
        self.greeting = greeting

    def send(self, request: Request, *, deadline_s: float) -> Response:
        """Send a request, and wait for its response. Closes the connection on any error."""
        try:
            self._set_timeout(_seconds_until(deadline_s))
            self._socket.sendall(encode_request(request))
            while True:
                response = self._receive(deadline_s)
                if not isinstance(response, Greeting) and response.request == request.request:
                    return response
        except (OSError, MalformedMessageError) as error:
            self.close()
            raise unreachable_error(self._path, error) from error

    def _receive(self, deadline_s: float) -> Response:
        while not self._ready:
            self._set_timeout(_seconds_until(deadline_s))
            data = self._socket.recv(_RECEIVE_BYTES)
            if not data:
                raise ConnectionResetError("it hung up")
            self._ready = self._frames.feed(data)
        return decode_response(self._ready.pop(0))

    def _set_timeout(self, left_s: float) -> None:
        """Set the timeout of a send or a receive, which may take up to a tenth longer.

        Uses SO_RCVTIMEO (socket(7)): with a Python timeout, each takes two more system calls.
        """
        if _TIMEOUT_TOLERANCE * self._timeout_s <= left_s <= self._timeout_s:
            return
        self._timeout_s = left_s
        whole_s, rest_s = divmod(left_s, 1)
        timeval = _TIMEVAL.pack(int(whole_s), max(1, int(rest_s * 1_000_000)))
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._socket.setsockopt(socket.SOL_SOCKET, option, timeval)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


class Pool:
    """A pool of blocking connections for threads. At most eight idle connections stay open."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: list[BlockingConnection] = []
        self._closed = False

    def send(self, request: Request, *, deadline_s: float) -> Response:
        """Send a request over a connection that only this thread uses. Raises UnreachableError."""
        # list.pop and list.append are atomic, so the pool needs no lock, and survives a fork.
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = BlockingConnection(self._path, deadline_s=deadline_s)
        response = connection.send(request, deadline_s=deadline_s)
        if len(self._idle) < _MAX_IDLE:
            self._idle.append(connection)
        else:
            connection.close()
        if self._closed:
            self.close()  # `close` ran during the request, and did not see this connection
        return response

    def adopt(self, connection: BlockingConnection) -> None:
        """Add an open connection to the pool."""
        self._idle.append(connection)

    def close(self) -> None:
        """Close the idle connections now, and the others after their requests."""
        self._closed = True
        while True:
            try:
                self._idle.pop().close()
            except IndexError:
                return


class _Pipeline(asyncio.Protocol):
    """One connection of one event loop, for many requests at once."""

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
        self._transport = None  # it references the loop, which must be collectable

    def _fail(self, error: Exception) -> None:
        if self._transport is not None:
            self._transport.abort()
        self._flowing.set()
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(unreachable_error(self._path, error))

    async def send(self, request: Request, *, deadline_s: float) -> Response:
        if not self._flowing.is_set():
            # A sidecar that does not read must not fill this process's memory: wait.
            await asyncio.wait_for(self._flowing.wait(), _seconds_until(deadline_s))
        if not self.open:
            raise unreachable_error(self._path, "it hung up")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Response] = loop.create_future()
        self._waiting[request.request] = future
        if not self._unsent:
            loop.call_soon(self._flush)
        self._unsent.append(encode_request(request))
        # Not asyncio.timeout, which costs as much as the rest of this function.
        timer = loop.call_later(_seconds_until(deadline_s), self._time_out, future)
        try:
            return await future
        finally:
            timer.cancel()
            self._waiting.pop(request.request, None)

    def _flush(self) -> None:
        """Send all requests of one turn of the loop at once."""
        unsent, self._unsent = self._unsent, []
        if self._transport is not None:
            self._transport.write(b"".join(unsent))

    def _time_out(self, future: asyncio.Future[Response]) -> None:
        if not future.done():
            future.set_exception(TimeoutError())

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class _LoopPipeline:
    """The pipeline of one event loop, and a lock so that only one pipeline is opened."""

    def __init__(self) -> None:
        self.opening = asyncio.Lock()
        self.pipeline: _Pipeline | None = None
        self._ending: AsyncGenerator[None] | None = None

    async def take(self, pipeline: _Pipeline) -> None:
        """Use a pipeline from now on until the loop ends, and close it then."""
        if self._ending is not None:
            await self._ending.aclose()
        self.pipeline = pipeline
        # At its end, a loop closes only the asynchronous generators that were started in it.
        self._ending = _close_at_end(pipeline)
        await anext(self._ending)


async def _close_at_end(pipeline: _Pipeline) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        pipeline.close()
        await asyncio.sleep(0)  # the loop closes the socket one step after close()


class LoopPipelines:
    """The pipelined connections of all event loops, one for each."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._pipelines: WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopPipeline] = (
            WeakKeyDictionary()
        )

    async def send(self, request: Request, *, deadline_s: float) -> Response:
        """Send a request over this loop's connection. Raises UnreachableError."""
        loop_pipeline = self._pipelines.get(asyncio.get_running_loop())
        pipeline = None if loop_pipeline is None else loop_pipeline.pipeline
        try:
            if pipeline is None or not pipeline.open:
                async with asyncio.timeout(_seconds_until(deadline_s)):
                    pipeline = await self._open_pipeline()
            return await pipeline.send(request, deadline_s=deadline_s)
        except TimeoutError as error:
            raise unreachable_error(self._path, TimeoutError("no answer in time")) from error

    async def _open_pipeline(self) -> _Pipeline:
        loop = asyncio.get_running_loop()
        with self._lock:
            loop_pipeline = self._pipelines.setdefault(loop, _LoopPipeline())
        async with loop_pipeline.opening:
            if loop_pipeline.pipeline is None or not loop_pipeline.pipeline.open:
                try:
                    _, pipeline = await loop.create_unix_connection(
                        lambda: _Pipeline(self._path), str(self._path)
                    )
                except OSError as error:
                    raise unreachable_error(self._path, error) from error
                await loop_pipeline.take(pipeline)
                return pipeline
            return loop_pipeline.pipeline

    def close(self) -> None:
        """Close the connection of every loop that still runs; the others are closed already."""
        with self._lock:
            pipelines = list(self._pipelines.items())
            self._pipelines.clear()
        for loop, loop_pipeline in pipelines:
            if loop_pipeline.pipeline is not None and not loop.is_closed():
                loop.call_soon_threadsafe(loop_pipeline.pipeline.close)
