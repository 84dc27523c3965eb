"""Serve an ASGI application inside our own event loop, on a port that may be chosen for us."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import uvicorn

from rescind_runtime import listening

_GRACE_S = 2
_MOST_CONNECTIONS = 4_096  # one more is answered 503 at once; the idle ones count too


@asynccontextmanager
async def serving(app: Any, address: str) -> AsyncGenerator[str]:
    """Listen at `host:port` (port 0: any), give the URL, and stop within two seconds at the end.

    Raises AddressError.
    """
    bound = listening.bind(address)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=_GRACE_S,
        limit_concurrency=_MOST_CONNECTIONS,
    )
    server = _Server(config)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(server.serve(sockets=[bound]))
        await server.listening.wait()
        try:
            yield listening.url(bound)
        finally:
            server.should_exit = True
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(task)


class _Server(uvicorn.Server):
    """Leave the signals to supervise.py, and say when the socket is served."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield
