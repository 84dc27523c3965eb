"""A server for ASGI applications in the running event loop, on a given port or a free one."""

import asyncio
import contextlib
import resource
import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import uvicorn

from rescind_runtime.net import listen
from rescind_runtime.net.certificates import ReloadingCertificate
from rescind_runtime.net.connection_limits import Config, Connections, Limits

_OTHER_DESCRIPTORS = 256  # Postgres, NATS, Redis, files
_FEWEST = 16


@asynccontextmanager
async def serving(
    app: Any,
    address: str,
    *,
    connections: Connections | None = None,
    certificate: ReloadingCertificate | None = None,
) -> AsyncGenerator[str]:
    """Serve at `host:port` (port 0: any), yield the URL, and stop within two seconds at the end.

    With a certificate the server uses HTTPS. Connections are bounded from their first byte on.
    Forwarded headers are not trusted. Raises AddressError.
    """
    bounded = Connections(limits()) if connections is None else connections
    async with asyncio.TaskGroup() as tasks:
        jobs = [tasks.create_task(bounded.end_idle())]
        if certificate is not None:
            jobs.append(tasks.create_task(certificate.run()))
        try:
            async with running(
                Config(app, bounded, certificate), address, secured=certificate is not None
            ) as url:
                yield url
        finally:
            for job in jobs:
                job.cancel()


@asynccontextmanager
async def running(
    config: uvicorn.Config, address: str, *, secured: bool = False
) -> AsyncGenerator[str]:
    """Run uvicorn as configured, at `host:port`, and yield the URL. Raises AddressError."""
    # Closed here too: uvicorn runs no shutdown if its start is cancelled.
    with contextlib.closing(listen.bind(address)) as bound:
        server = _Server(config)
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(server.serve(sockets=[bound]))
            await server.listening.wait()
            try:
                yield listen.url(bound, secured=secured)
            finally:
                server.should_exit = True
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.shield(task)


def limits() -> Limits:
    """Return the limits for this process: each connection uses one of its descriptors."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = Limits().most
    if allowed != resource.RLIM_INFINITY:
        most = max(_FEWEST, min(most, allowed - _OTHER_DESCRIPTORS))
    return Limits(most=most)


class _Server(uvicorn.Server):
    """A server that leaves signals to supervise.py, and sets `listening` once it serves."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield
