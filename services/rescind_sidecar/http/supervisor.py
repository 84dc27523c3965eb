"""The sidecar's HTTP: workers for the data plane, and the operator's endpoints.

caller ──▶ listening socket ──▶ worker ──▶ table (a map), Unix socket (the first check of a token)
                                  └──────▶ this process, for /healthz /readyz /metrics
"""

import asyncio
import socket
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

import structlog

from rescind.client.tls import TlsFiles
from rescind_runtime.net import listen
from rescind_runtime.net.certificates import ReloadingCertificate
from rescind_runtime.net.tls_protocol import Secured
from rescind_runtime.processes.child_process import Child
from rescind_sidecar.data_plane import workers
from rescind_sidecar.data_plane.workers import Workers
from rescind_sidecar.http.health import Operations
from rescind_sidecar.http.http1_connection import Listener
from rescind_sidecar.stats.counters import Counters

_FINISH_S = 1.0
_NO_FILES = TlsFiles("http")

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


@dataclass(frozen=True, slots=True)
class Served:
    """The URL at which the sidecar serves HTTP, and its worker processes."""

    url: str
    workers: Workers | None

    @property
    def pids(self) -> list[int]:
        """Return the process ids of the workers."""
        return self.workers.pids if self.workers else []


@asynccontextmanager
async def serving(
    operations: Operations,
    address: str,
    *,
    number: int,
    environment: Mapping[str, str],
    tally: Counters,
    files: TlsFiles = _NO_FILES,
) -> AsyncGenerator[Served]:
    """Serve HTTP at `host:port` for the block with `number` workers; with a certificate, HTTPS.

    Without workers there is no data plane, and this process serves the operator's endpoints at the
    address. Raises AddressError, ChildError and TlsError.
    """
    certificate = ReloadingCertificate.of(files)  # an error must be raised before a worker starts
    with listen.bind(address) as bound:
        url = listen.url(bound, secured=certificate is not None)
        if not number:
            async with _serve_operations(operations, bound.dup(), certificate):
                yield Served(url, None)
            return
        with _listen_unnamed() as operations_socket:
            # The workers share the sidecar's socket instead of binding one each. So a call that
            # arrives while a worker restarts waits in the backlog, and is not lost.
            operations_address = cast("bytes", operations_socket.getsockname())
            program = workers.build_program(
                name="the HTTP worker",
                module="rescind_sidecar.http",
                arguments=(str(bound.fileno()), operations_address.hex()),
                environment=environment,
                inherited=(bound.fileno(),),
            )

            def count_death(child: Child) -> None:
                tally.http_workers_restarted += 1
                _log.error(
                    "a worker of the HTTP data plane died and is started again",
                    action="http.worker_died",
                    pid=child.pid,
                    how=str(child.failure()),
                )

            pool = Workers(program, number=number, on_death=count_death)
            async with _serve_operations(operations, operations_socket.dup()), pool.running():
                yield Served(url, pool)


@asynccontextmanager
async def _serve_operations(
    operations: Operations, bound: socket.socket, certificate: ReloadingCertificate | None = None
) -> AsyncGenerator[None]:
    loop, secured = asyncio.get_running_loop(), Secured(certificate)
    async with asyncio.TaskGroup() as tasks:
        listener = Listener(operations, tasks)
        create = loop.create_unix_server if bound.family == socket.AF_UNIX else loop.create_server
        listener.attach_server(
            await create(lambda: secured.wrap(listener.build_protocol()), sock=bound)
        )
        jobs = [tasks.create_task(listener.end_idle())]
        if certificate is not None:
            jobs.append(tasks.create_task(certificate.run()))
        try:
            yield
        finally:
            await listener.stop(deadline_s=_FINISH_S)
            for job in jobs:
                job.cancel()


def _listen_unnamed() -> socket.socket:
    """Listen at an address that the kernel chooses, without a file: unix(7)."""
    operations_socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    operations_socket.bind("")
    operations_socket.listen()
    return operations_socket
