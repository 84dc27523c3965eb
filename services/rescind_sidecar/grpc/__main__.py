"""`python -m rescind_sidecar.grpc ADDRESS`: the worker that serves gRPC for a sidecar.

A worker is a workload like any other: it maps the table, and sends look-ups over the Unix socket. A
worker ends when its parent ends.
"""

import gc
import os
import sys
from pathlib import Path

from rescind_runtime import ready_line, supervise
from rescind_runtime.supervise import Stop
from rescind_sidecar.data_plane import attachment
from rescind_sidecar.data_plane.attachment import WorkerSettings
from rescind_sidecar.data_plane.forward_auth import ForwardAuth
from rescind_sidecar.grpc import server
from rescind_sidecar.grpc.check import CheckService

_FINISH_S = 1.0


class GrpcWorkerSettings(WorkerSettings):
    """The settings that the sidecar passes to its gRPC worker."""

    grpc_ca_file: Path | None = None
    grpc_cert_file: Path | None = None
    grpc_key_file: Path | None = None


async def _main(stop: Stop) -> None:
    (address,) = sys.argv[1:]
    os.umask(0o117)  # a Unix socket is for the user and the group, like that of the sidecar
    settings = GrpcWorkerSettings.load()
    verifier = await attachment.attach(settings.socket)
    forward_auth = ForwardAuth(
        verifier,
        stale_status=settings.stale_status,
        audiences=settings.services,
        resource_metadata=settings.resource_metadata,
    )
    check = CheckService(forward_auth).check
    async with server.serving(check, address, files=settings.files("grpc"), finish_s=_FINISH_S):
        gc.collect()
        gc.freeze()  # imported objects stay alive: scanning them again would cost each call
        ready_line.announce(pid=os.getpid())
        await stop.wait()
    verifier.close()


if __name__ == "__main__":
    supervise.run(_main, name="sidecar grpc")
