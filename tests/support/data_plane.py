"""A sidecar in a thread of the test, and the worker processes of its HTTP data plane."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tests.support.processes import clean_environment
from tests.support.sidecar import RunningSidecar

from rescind_runtime.clock import SystemClock
from rescind_sidecar.http.health import Operations
from rescind_sidecar.http.supervisor import Served, serving
from rescind_sidecar.prometheus import SidecarMetrics


@dataclass(frozen=True)
class DataPlane:
    """The address of a data plane, and its processes."""

    served: Served
    port: int

    @property
    def pids(self) -> list[int]:
        return self.served.pids


@asynccontextmanager
async def running(
    sidecar: RunningSidecar, *, workers: int = 1, **settings: str
) -> AsyncIterator[DataPlane]:
    """Serve HTTP for a sidecar as in a process of its own, from the main thread."""
    metrics = SidecarMetrics(
        sidecar.instances,
        sidecar.tally,
        SystemClock(),
        nats=lambda: True,
        link=lambda: "nats",
        redis=None,
    )
    async with serving(
        Operations(sidecar.instances, SystemClock(), metrics, distrust=lambda: None),
        "127.0.0.1:0",
        number=workers,
        environment=clean_environment(RESCIND_SOCKET=str(sidecar.path), **settings),
        tally=sidecar.tally,
    ) as served:
        yield DataPlane(served, int(served.url.rpartition(":")[2]))
