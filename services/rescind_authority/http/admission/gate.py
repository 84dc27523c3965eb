"""Limit how many requests are processed at a time, and how much memory their bodies take."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, MutableMapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

from rescind.errors import RescindError
from rescind_authority.errors import OverloadedError

_MAX_WAIT_S = 10.0

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class BodyTooLargeError(RescindError):
    """Raised for a body above the size limit of its sender."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"send at most {limit_bytes} bytes.")
        self.limit_bytes = limit_bytes


class GateTurn:
    """The right of a request to be processed. `end` returns it once."""

    def __init__(self, end: Callable[[], object]) -> None:
        self._end: Callable[[], object] | None = end

    def end(self) -> None:
        """Return the turn to the gate. A second call has no effect."""
        end, self._end = self._end, None
        if end is not None:
            end()


class Gate:
    """Admit a few requests at a time, and a few in each iteration of the event loop.

    A request with a token of this installation needs no turn, and shares the event loop with a few
    that do. Turns are given to peers round-robin: a peer that sends many requests does not make the
    other peers wait for all of them.
    """

    def __init__(self, most: int) -> None:
        self._free = most
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def turn(self, peer: str) -> AsyncGenerator[GateTurn]:
        """Wait for a turn. Raises OverloadedError after ten seconds."""
        if self._free and not self._waiting:
            self._free -= 1
        else:
            await self._wait(peer)
        # End the turn in the loop's next iteration. A request that awaits nothing completes in one
        # step, so otherwise all waiting requests would be processed in one iteration.
        turn = GateTurn(partial(asyncio.get_running_loop().call_soon, self._leave))
        try:
            yield turn
        finally:
            turn.end()

    async def _wait(self, peer: str) -> None:
        admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(peer, deque()).append(admitted)
        try:
            async with asyncio.timeout(_MAX_WAIT_S):
                await admitted
        except (asyncio.CancelledError, TimeoutError) as error:
            # A cancelled future stays in its queue and is skipped there.
            if not admitted.cancel() and not admitted.cancelled():
                self._leave()  # the turn was granted while this request gave up: pass it on
            if isinstance(error, TimeoutError):
                raise OverloadedError("requests") from None
            raise

    def _leave(self) -> None:
        while self._waiting:
            peer, queue = self._waiting.popitem(last=False)
            admitted = queue.popleft()
            if queue:
                self._waiting[peer] = queue  # at the end: the other peers are next
            if not admitted.done():
                admitted.set_result(None)
                return
        self._free += 1


class Body:
    """The body of one request, as far as it has arrived."""

    __slots__ = ("_bodies", "_deadline", "content")

    def __init__(self, bodies: "Bodies") -> None:
        self.content = bytearray()
        self._bodies = bodies
        self._deadline: asyncio.Timeout | None = None

    async def read(self, receive: Receive, *, limit_bytes: int) -> bool:
        """Read the whole body; return False if the client disconnected.

        Raises BodyTooLargeError, or OverloadedError if other bodies needed the memory.
        """
        try:
            async with asyncio.timeout(None) as self._deadline:
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return False
                    chunk: bytes = message.get("body", b"")
                    more = message.get("more_body", False)
                    if len(self.content) + len(chunk) > limit_bytes:
                        raise BodyTooLargeError(limit_bytes)
                    self.content += chunk
                    self._bodies.add_bytes(self, len(chunk))
        except TimeoutError:
            raise OverloadedError("request bodies") from None
        finally:
            self._bodies.complete(self)
        return True

    def abort(self) -> None:
        """Abort the read."""
        if self._deadline is not None:
            self._deadline.reschedule(asyncio.get_running_loop().time())


class Bodies:
    """Bodies in memory, with a limit on their total size.

    Above the limit, the body that has been incomplete for the longest time is aborted, so that slow
    senders do not use up the memory.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._held: dict[Body, int] = {}
        self._incomplete: OrderedDict[Body, None] = OrderedDict()
        self.bytes = 0

    @contextmanager
    def body(self) -> Generator[Body]:
        """Count the memory of a body during the block."""
        body = Body(self)
        self._held[body] = 0
        self._incomplete[body] = None
        try:
            yield body
        finally:
            self._incomplete.pop(body, None)
            self._release(body)

    def add_bytes(self, body: Body, size: int) -> None:
        """Count more bytes of a body. Above the limit, abort the oldest incomplete bodies."""
        if body not in self._held:
            return  # the body is aborted already
        self._held[body] += size
        self.bytes += size
        while self.bytes > self._most and self._incomplete:
            oldest, _ = self._incomplete.popitem(last=False)
            oldest.abort()
            self._release(oldest)

    def complete(self, body: Body) -> None:
        """Mark a body as complete."""
        self._incomplete.pop(body, None)

    def _release(self, body: Body) -> None:
        self.bytes -= self._held.pop(body, 0)
