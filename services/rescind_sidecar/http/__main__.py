"""`python -m rescind_sidecar.http LISTENING OPERATIONS`: one worker of a sidecar's data plane.

LISTENING is the descriptor of the socket that all workers share. OPERATIONS is the address, in hex,
at which the sidecar answers the operator's requests. A worker is a workload like any other: it maps
the table, and sends look-ups over the Unix socket. A worker ends when its parent ends.
"""

import asyncio
import contextlib
import gc
import os
import socket
import sys
from pathlib import Path

from rescind.client.verifier import Verifier
from rescind.errors import UnreachableError
from rescind_runtime import ready_line, supervise
from rescind_runtime.net.certificates import ReloadingCertificate
from rescind_runtime.net.tls_protocol import Secured
from rescind_runtime.settings import RuntimeSettings
from rescind_runtime.supervise import Stop
from rescind_sidecar.http.http1_connection import Listener
from rescind_sidecar.http.operations_relay import Relay
from rescind_sidecar.http.routes import WITH_BODY, DataPlane
from rescind_sidecar.settings import IntrospectionCallers, parts

_ATTACH_ATTEMPTS = 20
_TIMEOUT_S = 1.0
_FINISH_S = 1.0


class WorkerSettings(RuntimeSettings):
    """The settings that the sidecar passes to its workers."""

    socket: Path
    stale_status: int = 503
    address_header: str | None = None
    audiences: str | None = None
    resource_metadata: str | None = None
    introspect: IntrospectionCallers = IntrospectionCallers.CLIENT
    introspect_exp: bool = False
    http_ca_file: Path | None = None
    http_cert_file: Path | None = None
    http_key_file: Path | None = None

    @property
    def services(self) -> tuple[str, ...]:
        """Return the services that `audience=` may name, besides the sidecar's own."""
        return parts(self.audiences)


async def _main(stop: Stop) -> None:
    descriptor, operations = sys.argv[1:]
    settings = WorkerSettings.load()
    verifier = await asyncio.to_thread(_attach, settings.socket)
    application = DataPlane(
        verifier,
        Relay(bytes.fromhex(operations)),
        stale_status=settings.stale_status,
        address_header=settings.address_header,
        audiences=settings.services,
        resource_metadata=settings.resource_metadata,
        introspection_on_loopback=settings.introspect is IntrospectionCallers.LOOPBACK,
        introspection_exp=settings.introspect_exp,
    )
    certificate = ReloadingCertificate.of(settings.files("http"))
    secured = Secured(certificate)
    async with asyncio.TaskGroup() as tasks:
        listener = Listener(application, tasks, with_body=WITH_BODY)
        listener.attach_server(
            await asyncio.get_running_loop().create_server(
                lambda: secured.wrap(listener.build_protocol()),
                sock=socket.socket(fileno=int(descriptor)),
            )
        )
        jobs = [tasks.create_task(listener.sweep())]
        if certificate is not None:
            jobs.append(tasks.create_task(certificate.run()))
        gc.collect()
        gc.freeze()  # imported objects stay alive: scanning them again would cost calls a tenth
        ready_line.announce(pid=os.getpid())
        await stop.wait()
        await listener.stop(deadline_s=_FINISH_S)
        for job in jobs:
            job.cancel()
    verifier.close()


def _attach(path: Path) -> Verifier:
    """Connect to the sidecar, whose greeting may be late while it starts."""
    for _ in range(_ATTACH_ATTEMPTS - 1):
        with contextlib.suppress(UnreachableError):
            return Verifier.attach(path, timeout_s=_TIMEOUT_S)
    return Verifier.attach(path, timeout_s=_TIMEOUT_S)


if __name__ == "__main__":
    supervise.run(_main, name="sidecar http")
