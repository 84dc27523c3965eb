"""Serve an ASGI application inside our own event loop, on a port that may be chosen for us."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import uvicorn

from rescind.errors import RescindError

_GRACE_S = 2
_BACKLOG = 1024


class AddressError(RescindError):
    """Say that an address cannot be listened at, and which setting names it."""


@asynccontextmanager
async def serving(app: Any, address: str) -> AsyncGenerator[str]:
    """Listen at `host:port` (port 0: any), give the URL, and stop within two seconds at the end.

    Raises AddressError.
    """
    bound = _bind(address)
    host, port = bound.getsockname()[:2]
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=_GRACE_S,
    )
    server = _Server(config)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(server.serve(sockets=[bound]))
        await server.listening.wait()
        try:
            yield f"http://{f'[{host}]' if ':' in host else host}:{port}"
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


def _bind(address: str) -> socket.socket:
    host, colon, port = address.rpartition(":")
    host = host.strip("[]")
    if not colon or not port.isdecimal():
        raise AddressError(f"RESCIND_HTTP is {address!r}: expected host:port, 127.0.0.1:7473 say")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, int(port)))
        bound.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        bound.close()
        raise AddressError(
            f"cannot listen at {address}: {error}. Another process may have the port: "
            "choose another with RESCIND_HTTP, or port 0 for any"
        ) from error
    return bound
