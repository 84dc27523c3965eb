"""The sidecar's gRPC: one worker process, which binds the address itself.

grpcio takes no socket that is bound already. So while a worker restarts, connections are refused.
grpcio is loaded by the worker alone, and only if RESCIND_GRPC is set.
"""

import socket
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec

import structlog

from rescind.client.problems import MissingExtraError
from rescind_runtime.net import listen
from rescind_runtime.net.listen import AddressError
from rescind_runtime.processes.child_process import Child
from rescind_sidecar.data_plane import workers
from rescind_sidecar.data_plane.workers import Workers
from rescind_sidecar.settings import UNIX
from rescind_sidecar.stats.counters import Counters

_SETTING = "RESCIND_GRPC"

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


@dataclass(frozen=True, slots=True)
class GrpcServed:
    """The address at which the sidecar serves gRPC, and its worker process."""

    address: str
    workers: Workers

    @property
    def pids(self) -> list[int]:
        """Return the process id of the worker, in a list."""
        return self.workers.pids


@asynccontextmanager
async def serving(
    address: str, *, environment: Mapping[str, str], tally: Counters
) -> AsyncGenerator[GrpcServed]:
    """Serve gRPC at `host:port` or `unix:/path` for the block.

    Raises AddressError and ChildError, and MissingExtraError without grpcio.
    """
    if find_spec("grpc") is None:
        raise MissingExtraError("grpc", f"{_SETTING} (grpcio is not installed)")
    address = _find_free(address)
    program = workers.build_program(
        name="the gRPC worker",
        module="rescind_sidecar.grpc",
        arguments=(address,),
        environment=environment,
    )

    def count_death(child: Child) -> None:
        tally.grpc_workers_restarted += 1
        _log.error(
            "the worker of gRPC died and is started again",
            action="grpc.worker_died",
            pid=child.pid,
            how=str(child.failure()),
        )

    pool = Workers(program, number=1, on_death=count_death)
    async with pool.running():
        yield GrpcServed(address, pool)


def _find_free(address: str) -> str:
    """Return the address with a port if it has none. Raises AddressError if it is in use."""
    if address.startswith(UNIX):
        _require_unused(address.removeprefix(UNIX))
        return address
    with listen.bind(address, setting=_SETTING) as probe:
        host, port = probe.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _require_unused(path: str) -> None:
    """Raise AddressError if a process listens at a path: grpcio would take its place."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return
    raise AddressError(f"another process listens at {path}: choose another with {_SETTING}")
