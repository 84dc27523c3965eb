"""`python -m rescind_sidecar.http LISTENING OPERATIONS`: one worker of a sidecar's data plane.

LISTENING is the descriptor of the socket that all workers share, OPERATIONS the address, in hex,
at which the sidecar answers for itself. A worker is a workload like any other: it maps the table,
and asks at the socket. It ends with its parent.
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
from rescind_runtime import ready, supervise
from rescind_runtime.settings import RuntimeSettings
from rescind_runtime.supervise import Stop
from rescind_sidecar.http import check
from rescind_sidecar.http.connection import Listener
from rescind_sidecar.http.data_plane import DataPlane
from rescind_sidecar.http.relay import Relay
from rescind_sidecar.settings import parts

_ATTACH_ATTEMPTS = 20
_TIMEOUT_S = 1.0
_FINISH_S = 1.0


class WorkerSettings(RuntimeSettings):
    """Hold what the sidecar tells its workers."""

    socket: Path
    stale_status: int = 503
    address_header: str | None = None
    audiences: str | None = None
    resource_metadata: str | None = None

    @property
    def services(self) -> tuple[str, ...]:
        """The services that `audience=` may name, besides the sidecar's own."""
        return parts(self.audiences)


async def _main(stop: Stop) -> None:
    descriptor, operations = sys.argv[1:]
    settings = WorkerSettings.load()
    verifier = await asyncio.to_thread(_attached, settings.socket)
    application = DataPlane(
        verifier,
        Relay(bytes.fromhex(operations)),
        stale_status=settings.stale_status,
        address_header=settings.address_header,
        audiences=settings.services,
        resource_metadata=settings.resource_metadata,
    )
    async with asyncio.TaskGroup() as tasks:
        listener = Listener(application, tasks, with_body={check.PATH})
        listener.serve(
            await asyncio.get_running_loop().create_server(
                listener.connect, sock=socket.socket(fileno=int(descriptor))
            )
        )
        sweeping = tasks.create_task(listener.sweep())
        gc.collect()
        gc.freeze()  # all that was imported stays: to look through it again costs calls a tenth
        ready.announce(pid=os.getpid())
        await stop.wait()
        await listener.stop(deadline_s=_FINISH_S)
        sweeping.cancel()
    verifier.close()


def _attached(path: Path) -> Verifier:
    """Meet the sidecar, which has a start of its own to do and may be slow to greet."""
    for _ in range(_ATTACH_ATTEMPTS - 1):
        with contextlib.suppress(UnreachableError):
            return Verifier.attach(path, timeout_s=_TIMEOUT_S)
    return Verifier.attach(path, timeout_s=_TIMEOUT_S)


if __name__ == "__main__":
    supervise.run(_main, name="sidecar http")
