"""A sidecar with its HTTP, a service, and the proxies between them and the caller."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tests.support import data_plane, grpc_plane, sidecar
from tests.support.data_plane import DataPlane
from tests.support.proxies import programs, service
from tests.support.proxies.caller import Caller
from tests.support.proxies.programs import Proxy
from tests.support.proxies.service import Service
from tests.support.sidecar import LedgerInMemory, RunningSidecar

from rescind_sidecar.grpc.supervisor import GrpcServed

_Value = TypeVar("_Value")


@dataclass(slots=True)
class Site:
    """What the proxies of a session or a module share. A proxy starts when it is first needed."""

    link: LedgerInMemory
    sidecar: RunningSidecar
    plane: DataPlane
    grpc: GrpcServed
    service: Service
    folder: Path
    _stack: ExitStack
    _started: dict[str, int] = field(default_factory=dict)

    @property
    def ports(self) -> Mapping[int, int]:
        """The real port for each port of the shipped files."""
        return {
            programs.SIDECAR: self.plane.port,
            programs.SIDECAR_GRPC: int(self.grpc.address.rpartition(":")[2]),
            programs.SERVICE: self.service.port,
        }

    @property
    def workers(self) -> list[int]:
        """The process ids of the workers of the sidecar."""
        return [*self.plane.pids, *self.grpc.pids]

    def caller(self, proxy: Proxy, *, faults: bool = False) -> Caller:
        """Return a caller of a proxy that runs from its shipped files."""
        if proxy.name not in self._started:
            running = programs.running(proxy, self.folder / proxy.name, ports=self.ports)
            self._started[proxy.name] = self._stack.enter_context(running)
        return Caller(self._started[proxy.name], self.service, faults)


@asynccontextmanager
async def running(folder: Path, *, term_ms: int = 10_000) -> AsyncIterator[Site]:
    """Run a sidecar that holds a lease, its HTTP, its gRPC and a service for the block.

    The workers answer also while the loop is idle: tests need not be coroutines.
    """
    link = LedgerInMemory(term_ms=term_ms)
    with ExitStack() as stack:
        behind = stack.enter_context(service.running())
        beside = stack.enter_context(sidecar.running(folder / "search.sock", link))
        async with (
            data_plane.running(beside, RESCIND_ADDRESS_HEADER="x-real-ip") as plane,
            grpc_plane.running(beside) as grpc,
        ):
            with ExitStack() as proxies:
                yield Site(link, beside, plane, grpc, behind, folder, proxies)


@asynccontextmanager
async def held(block: AbstractAsyncContextManager[_Value]) -> AsyncIterator[_Value]:
    """Enter and leave a block in one task, for a fixture, whose ends run in two."""
    ready: asyncio.Future[_Value] = asyncio.get_running_loop().create_future()
    over = asyncio.Event()

    async def live() -> None:
        async with block as value:
            ready.set_result(value)
            await over.wait()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(live())
        yield await ready
        over.set()
