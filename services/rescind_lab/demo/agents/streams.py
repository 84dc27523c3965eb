"""Streams that agents keep open.

The service sends one event and then nothing, so a stream ends only if its token is revoked.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from rescind.core.secret import Secret
from rescind_lab.errors import LabError
from rescind_runtime import clock

_OPEN_S = 10.0


@dataclass(slots=True)
class Stream:
    """One agent's stream; `ended_ns` is CLOCK_BOOTTIME when the service ended it."""

    agent: str
    ended_ns: int | None = None


@contextlib.asynccontextmanager
async def open_streams(
    url: str, secrets: Mapping[str, Secret]
) -> AsyncGenerator[tuple[Stream, ...]]:
    """Keep a stream open for each agent during the block, or until the service ends it."""
    streams = tuple(Stream(agent) for agent in secrets)
    started = [asyncio.Event() for _ in streams]
    async with asyncio.TaskGroup() as tasks:
        readers = [
            tasks.create_task(_read(url, secrets[stream.agent], stream, event))
            for stream, event in zip(streams, started, strict=True)
        ]
        async with asyncio.timeout(_OPEN_S):
            for event in started:
                await event.wait()
        yield streams
        for reader in readers:
            reader.cancel()


async def _read(url: str, token: Secret, stream: Stream, started: asyncio.Event) -> None:
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        head = f"GET /stream HTTP/1.1\r\nhost: demo\r\nauthorization: Bearer {token.reveal()}"
        writer.write(f"{head}\r\n\r\n".encode())
        answer = await reader.readuntil(b"\r\n\r\n")
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise LabError(f"{stream.agent} was refused a stream: {answer.splitlines()[0]!r}")
        await reader.readuntil(b"\n\n")  # the event
        started.set()
        with contextlib.suppress(OSError):
            await reader.read()
        stream.ended_ns = clock.boottime_ns()
    finally:
        writer.close()
