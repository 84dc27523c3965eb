"""TCP relays between real processes that lose, delay and garble data, as a seed determines.

A wire that is cut acts like a network that loses every packet: connections stay open, and neither
side is notified, not even that the other side closed. A wire may be cut one way only.
"""

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator, Iterable
from enum import StrEnum
from urllib.parse import urlsplit

_CHUNK_BYTES = 65_536
_SLOW_S = (0.02, 0.3)
_GARBLED = 0.2


class Fault(StrEnum):
    """The effect of a wire on the data that is sent through it."""

    NONE = "none"
    CUT = "cut"
    MUTE = "mute"  # data from the near end is lost
    DEAF = "deaf"  # data to the near end is lost
    SLOW = "slow"
    GARBLED = "garbled"


_STALLS = {Fault.CUT: (True, True), Fault.MUTE: (True, False), Fault.DEAF: (False, True)}


class Wire:
    """The routes from one process to the others, all with the same fault."""

    def __init__(self, tasks: asyncio.TaskGroup, *, seed: int, at: str) -> None:
        self._tasks = tasks
        self._at = at
        self._random = random.Random(seed)
        self._ways: dict[str, str] = {}
        self._leading: list[asyncio.Task[None]] = []
        self._changed = asyncio.Event()
        self._fault = Fault.NONE
        self._connections: set[asyncio.StreamWriter] = set()

    def through(self, url: str) -> str:
        """Open a route through the wire to a URL; return the URL of its near end."""
        if url not in self._ways:
            where = urlsplit(url)
            assert where.hostname is not None
            assert where.port is not None
            listener = socket.create_server((self._at, 0))
            listener.setblocking(False)
            port = listener.getsockname()[1]
            far = (where.hostname, where.port)
            self._leading.append(self._tasks.create_task(self._lead(listener, far)))
            self._ways[url] = where._replace(netloc=f"{self._at}:{port}").geturl()
        return self._ways[url]

    def suffer(self, fault: Fault) -> None:
        """Set the fault. When a garbled wire is repaired, its connections are closed."""
        if self._fault is Fault.GARBLED:
            for writer in self._connections:
                writer.transport.abort()
        self._fault = fault
        self._changed.set()
        self._changed = asyncio.Event()

    def end(self) -> None:
        """Remove the wire, with all connections through it."""
        for way in self._leading:
            way.cancel()

    async def _lead(self, listener: socket.socket, far: tuple[str, int]) -> None:
        loop = asyncio.get_running_loop()
        with listener:
            async with asyncio.TaskGroup() as connections:
                while True:
                    near, _ = await loop.sock_accept(listener)
                    connections.create_task(self._connect(near, far))

    async def _connect(self, near: socket.socket, far: tuple[str, int]) -> None:
        await self._whole(outward=True)
        with near, contextlib.suppress(OSError):
            there = await asyncio.open_connection(*far)
            here = await asyncio.open_connection(sock=near)
            self._connections |= {there[1], here[1]}
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._carry(here[0], there[1], outward=True))
                    both.create_task(self._carry(there[0], here[1], outward=False))
            finally:
                self._connections -= {there[1], here[1]}

    async def _carry(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, outward: bool
    ) -> None:
        try:
            with contextlib.suppress(OSError):  # a reset ends the connection too
                while chunk := await source.read(_CHUNK_BYTES):
                    await self._whole(outward=outward)
                    target.write(await self._handled(chunk))
                    await target.drain()
            await self._whole(outward=outward)  # the end of a connection is lost too
        finally:
            target.close()

    async def _whole(self, *, outward: bool) -> None:
        while _STALLS.get(self._fault, (False, False))[0 if outward else 1]:
            await self._changed.wait()

    async def _handled(self, chunk: bytes) -> bytes:
        if self._fault is Fault.SLOW:
            await asyncio.sleep(self._random.uniform(*_SLOW_S))
        elif self._fault is Fault.GARBLED and self._random.random() < _GARBLED:
            place = self._random.randrange(len(chunk))
            return chunk[:place] + bytes([chunk[place] ^ 0x55]) + chunk[place + 1 :]
        return chunk


@contextlib.asynccontextmanager
async def laid(
    names: Iterable[str], *, seed: int, at: str = "127.0.0.1"
) -> AsyncIterator[dict[str, Wire]]:
    """Open a wire for each name, for the block; the near ends listen at address `at`."""
    async with asyncio.TaskGroup() as tasks:
        wires = {name: Wire(tasks, seed=seed + place, at=at) for place, name in enumerate(names)}
        yield wires
        for wire in wires.values():
            wire.end()
