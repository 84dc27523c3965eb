"""Streams that agents keep open, like those of tools that report.

After the first event nothing is sent on them, so only its token can end a stream.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from rescind.core.secret import Secret
from rescind_lab.errors import SceneError
from rescind_runtime import clock

_OPEN_S = 10.0


@dataclass(slots=True)
class Stream:
    """One agent's stream; `ended_ns` is CLOCK_BOOTTIME when the service ended it."""

    agent: str
    ended_ns: int | None = None


@contextlib.asynccontextmanager
async def opened(url: str, secrets: Mapping[str, Secret]) -> AsyncGenerator[tuple[Stream, ...]]:
    """Keep a stream open for each agent during the block, or until the service ends it."""
    streams = tuple(Stream(agent) for agent in secrets)
    begun = [asyncio.Event() for _ in streams]
    async with asyncio.TaskGroup() as tasks:
        reading = [
            tasks.create_task(_read(url, secrets[stream.agent], stream, event))
            for stream, event in zip(streams, begun, strict=True)
        ]
        async with asyncio.timeout(_OPEN_S):
            for event in begun:
                await event.wait()
        yield streams
        for each in reading:
            each.cancel()


async def _read(url: str, token: Secret, stream: Stream, begun: asyncio.Event) -> None:
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    try:
        head = f"GET /stream HTTP/1.1\r\nhost: demo\r\nauthorization: Bearer {token.reveal()}"
        writer.write(f"{head}\r\n\r\n".encode())
        answer = await reader.readuntil(b"\r\n\r\n")
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise SceneError(f"{stream.agent} was refused a stream: {answer.splitlines()[0]!r}")
        await reader.readuntil(b"\n\n")  # its first event
        begun.set()
        with contextlib.suppress(OSError):
            await reader.read()
        stream.ended_ns = clock.boottime_ns()
    finally:
        writer.close()
