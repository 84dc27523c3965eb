"""A TCP proxy in this process, for the connections of one sidecar, that can be cut.

A proxy that is cut acts like a network that loses every packet in both directions. Connections stay
open, and sent data stays in a buffer. Neither side is notified, even if the other side closes its
connection. After the proxy is healed, the buffered data arrives late, as with TCP.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, Generator
from urllib.parse import urlsplit

_CHUNK_BYTES = 65_536


class TcpProxy:
    """The routes of one sidecar to the servers, which are cut and healed together."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self._tasks = tasks
        self._routes: list[asyncio.Task[None]] = []
        self._healed = asyncio.Event()
        self._healed.set()

    def open_route(self, url: str) -> str:
        """Open a route to a URL, and return the URL of its near end."""
        address = urlsplit(url)
        if address.hostname is None or address.port is None:
            raise ValueError("the proxy needs a URL with a host and a port")
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        far = (address.hostname, address.port)
        self._routes.append(self._tasks.create_task(self._accept(listener, far)))
        user, at, _ = address.netloc.rpartition("@")
        near = f"{user}{at}127.0.0.1:{listener.getsockname()[1]}"
        return address._replace(netloc=near).geturl()

    @contextlib.contextmanager
    def cut(self) -> Generator[None]:
        """Drop all bytes during the block, in both directions."""
        self._healed.clear()
        try:
            yield
        finally:
            self._healed.set()

    def close(self) -> None:
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
        with near, contextlib.suppress(OSError):  # no listener at the far end: close the near end
            far_reader, far_writer = await asyncio.open_connection(*far)
            near_reader, near_writer = await asyncio.open_connection(sock=near)
            async with asyncio.TaskGroup() as directions:
                directions.create_task(self._forward(near_reader, far_writer))
                directions.create_task(self._forward(far_reader, near_writer))

    async def _forward(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError):  # a reset ends a connection too
                while chunk := await self._read(source):
                    target.write(chunk)
                    await target.drain()
        finally:
            target.close()

    async def _read(self, source: asyncio.StreamReader) -> bytes:
        """Return the received bytes, or none at the end.

        The call does not return while the proxy is cut.
        """
        try:
            chunk = await source.read(_CHUNK_BYTES)
        except OSError:
            chunk = b""
        await self._healed.wait()
        return chunk


@contextlib.asynccontextmanager
async def run_proxy() -> AsyncGenerator[TcpProxy]:
    """Run a proxy for the block."""
    async with asyncio.TaskGroup() as tasks:
        proxy = TcpProxy(tasks)
        yield proxy
        proxy.close()
