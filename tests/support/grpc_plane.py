"""The worker process of a sidecar's gRPC, for a sidecar in a thread of the test."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.processes import clean_environment
from tests.support.sidecar import RunningSidecar

from rescind_sidecar.grpc.supervisor import GrpcServed, serving


@asynccontextmanager
async def running(
    sidecar: RunningSidecar, *, address: str = "127.0.0.1:0", **settings: str
) -> AsyncIterator[GrpcServed]:
    """Serve gRPC for a sidecar as in a process of its own, from the main thread."""
    environment = clean_environment(RESCIND_SOCKET=str(sidecar.path), **settings)
    async with serving(address, environment=environment, tally=sidecar.tally) as served:
        yield served
