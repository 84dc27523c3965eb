"""Forward one sidecar's TCP connections through a wire that can be cut.

This process forwards the data. A wire that is cut acts as a network that loses every packet, both
ways. Connections stay open, and data that is sent into them stays in a buffer. Neither side is
notified, not even if the other side hangs up. After the wire is healed, the buffered data arrives
late, as with TCP.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, Generator
from urllib.parse import urlsplit

_CHUNK_BYTES = 65_536


class Wire:
    """One sidecar's connections to the other parts, which are cut and healed together."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self._tasks = tasks
        self._routes: list[asyncio.Task[None]] = []
        self._healed = asyncio.Event()
        self._healed.set()

    def through(self, url: str) -> str:
        """Open a route through the wire to a URL, and return the URL of its near end."""
        where = urlsplit(url)
        if where.hostname is None or where.port is None:
            raise ValueError("only a URL with host and port leads through a wire")
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        far = (where.hostname, where.port)
        self._routes.append(self._tasks.create_task(self._accept(listener, far)))
        user, at, _ = where.netloc.rpartition("@")
        near = f"{user}{at}127.0.0.1:{listener.getsockname()[1]}"
        return where._replace(netloc=near).geturl()

    @contextlib.contextmanager
    def cut(self) -> Generator[None]:
        """Drop all bytes during the block, in both directions."""
        self._healed.clear()
        try:
            yield
        finally:
            self._healed.set()

    def end(self) -> None:
        """Stop listening, and close every connection."""
        for route in self._routes:
            route.cancel()

    async def _accept(self, listener: socket.socket, far: tuple[str, int]) -> None:
        loop = asyncio.get_running_loop()
        with listener:
            async with asyncio.TaskGroup() as connections:
                while True:
                    near, _ = await loop.sock_accept(listener)
                    connections.create_task(self._connect(near, far))

    async def _connect(self, near: socket.socket, far: tuple[str, int]) -> None:
        await self._healed.wait()
        with near, contextlib.suppress(OSError):  # no listener: hang up, as the far end would
            there = await asyncio.open_connection(*far)
            here = await asyncio.open_connection(sock=near)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._forward(here[0], there[1]))
                both.create_task(self._forward(there[0], here[1]))

    async def _forward(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError):  # a reset is an end like any other
                while chunk := await self._read(source):
                    target.write(chunk)
                    await target.drain()
        finally:
            target.close()

    async def _read(self, source: asyncio.StreamReader) -> bytes:
        """Return the received bytes, or none at the end.

        While the wire is cut, the call does not return.
        """
        try:
            chunk = await source.read(_CHUNK_BYTES)
        except OSError:
            chunk = b""
        await self._healed.wait()
        return chunk


@contextlib.asynccontextmanager
async def running() -> AsyncGenerator[Wire]:
    """Run a proxy for the block."""
    async with asyncio.TaskGroup() as tasks:
        wire = Wire(tasks)
        yield wire
        wire.end()
