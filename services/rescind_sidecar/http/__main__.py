"""`python -m rescind_sidecar.http LISTENING OPERATIONS`: one worker of a sidecar's data plane.

LISTENING is the descriptor of the socket that all workers share. OPERATIONS is the address, in hex,
at which the sidecar answers the operator's requests. A worker is a workload like any other: it maps
the table, and sends look-ups over the Unix socket. A worker ends when its parent ends.
"""

import asyncio
import gc
import os
import socket
import sys
from pathlib import Path

from rescind_runtime import ready_line, supervise
from rescind_runtime.net.certificates import ReloadingCertificate
from rescind_runtime.net.tls_protocol import Secured
from rescind_runtime.supervise import Stop
from rescind_sidecar.data_plane import attachment
from rescind_sidecar.data_plane.attachment import WorkerSettings
from rescind_sidecar.http.http1_connection import Listener
from rescind_sidecar.http.operations_relay import Relay
from rescind_sidecar.http.routes import WITH_BODY, DataPlane
from rescind_sidecar.settings import IntrospectionCallers

_FINISH_S = 1.0


class HttpWorkerSettings(WorkerSettings):
    """The settings that the sidecar passes to its HTTP workers."""

    address_header: str | None = None
    introspect: IntrospectionCallers = IntrospectionCallers.CLIENT
    introspect_exp: bool = False
    http_ca_file: Path | None = None
    http_cert_file: Path | None = None
    http_key_file: Path | None = None


async def _main(stop: Stop) -> None:
    descriptor, operations = sys.argv[1:]
    settings = HttpWorkerSettings.load()
    verifier = await attachment.attach(settings.socket)
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
        jobs = [tasks.create_task(listener.end_idle())]
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


if __name__ == "__main__":
    supervise.run(_main, name="sidecar http")
