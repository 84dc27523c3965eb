"""HTTP byte by byte: exactly the bytes that the test wrote are sent."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from rescind_sidecar.http.http1_connection import Application, Listener
from rescind_sidecar.http.routes import WITH_BODY

DEADLINE_S = 10.0


@dataclass(frozen=True)
class Answer:
    """A reply as it was received. Header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes = field(default=b"")


class RawConnection:
    """One connection to a server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *parts: bytes) -> None:
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()

    async def answer(self, *, bodiless: bool = False) -> Answer:
        """Read one reply; `bodiless` for the answer to HEAD."""
        async with asyncio.timeout(DEADLINE_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            status, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
            pairs = [line.split(": ", 1) for line in lines]
            headers = {name.lower(): text for name, text in pairs}
            assert len(headers) == len(pairs), "a header came twice"
            length = 0 if bodiless else int(headers["content-length"])
            return Answer(int(status.split()[1]), headers, await self.reader.readexactly(length))

    async def ask(self, *parts: bytes) -> Answer:
        await self.send(*parts)
        return await self.answer(bodiless=parts[0].startswith(b"HEAD "))

    async def ended(self) -> bool:
        """Wait until the other side closes; return True if it sent nothing more."""
        async with asyncio.timeout(DEADLINE_S):
            return await self.reader.read() == b""


@asynccontextmanager
async def connect_raw(port: int) -> AsyncIterator[RawConnection]:
    """Connect to a port of this machine."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    try:
        yield RawConnection(reader, writer)
    finally:
        writer.close()


async def ask(port: int, *parts: bytes) -> Answer:
    """Send one request on a new connection, and return the reply."""
    async with connect_raw(port) as line:
        return await line.ask(*parts)


def request(target: str, *headers: str, method: str = "GET", body: bytes = b"") -> bytes:
    """Return the bytes of a request."""
    lines = [f"{method} {target} HTTP/1.1", "Host: sidecar", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def bearer(token: str) -> str:
    """Return the header that carries a token."""
    return f"Authorization: Bearer {token}"


@asynccontextmanager
async def served(application: Application, **options: Any) -> AsyncIterator[tuple[int, Listener]]:
    """Serve an application in this loop, at a port of this machine."""
    async with asyncio.TaskGroup() as tasks:
        listener = Listener(application, tasks, **{"with_body": WITH_BODY} | options)
        server = await asyncio.get_running_loop().create_server(
            listener.build_protocol, host="127.0.0.1", port=0
        )
        listener.attach_server(server)
        yield server.sockets[0].getsockname()[1], listener
        await listener.stop(deadline_s=1)
