"""One sidecar process, from its start to its stop."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from importlib.metadata import version

import structlog

from rescind.client.clock import boot_id
from rescind.core.posture import Posture
from rescind_runtime import ready_line
from rescind_runtime.clock import SystemClock
from rescind_runtime.crypto.trust import Trust
from rescind_runtime.net import nats_client
from rescind_runtime.supervise import Stop
from rescind_sidecar.grpc import supervisor as grpc_plane
from rescind_sidecar.grpc.supervisor import GrpcServed
from rescind_sidecar.http import health
from rescind_sidecar.http import supervisor as data_plane
from rescind_sidecar.http.supervisor import Served
from rescind_sidecar.redis.record_cache import RedisRecordReader
from rescind_sidecar.settings import SidecarSettings
from rescind_sidecar.socket.server import SocketServer
from rescind_sidecar.stats.counters import Counters
from rescind_sidecar.table_file import TableFile
from rescind_sidecar.trust_file import KeptTrust
from rescind_sidecar.trust_store import UpdatingTrustStore
from rescind_sidecar.usecases import shutdown
from rescind_sidecar.wiring.parts import Parts

_FIRST_ATTEMPT_S = 2.0

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


class Sidecar:
    """One sidecar process: built from settings, active inside `run`."""

    def __init__(self, settings: SidecarSettings) -> None:
        self._settings = settings
        self._boot = boot_id()
        self._clock = SystemClock()
        self._tally = Counters()
        self._tables = TableFile(
            settings.socket_path, boot=self._boot, posture=Posture.parse(settings.posture)
        )
        self._trust = Trust.read(settings.trust_path)
        self._trust_store: UpdatingTrustStore
        nats_client.options(settings.nats)  # raises now if a file of the NATS link is not valid
        shared = settings.redis
        self._redis = None if shared is None else RedisRecordReader(shared)

    async def run(self, stop: Stop) -> None:
        """Serve until `stop` is set; then stop in the order of `usecases/shutdown.py`."""
        settings = self._settings
        if settings.files("http") or settings.files("grpc"):
            stop.on_hangup = _do_nothing  # the workers reload their certificate by themselves
        with self._tables.locked():
            self._trust_store = self._load_trust_store()
            _log.info(
                "a sidecar starts",
                action="started",
                service=settings.service,
                posture=settings.posture,
                version=version("rescind"),
            )
            parts = Parts(
                settings,
                tables=self._tables,
                clock=self._clock,
                tally=self._tally,
                trust_store=self._trust_store,
                redis=self._redis,
            )
            async with self._run_background(parts) as tasks, AsyncExitStack() as serving:
                await self._serve(parts, tasks, serving)
                await stop.wait()
                _log.info("asked to stop; its leases end now", action="stopping")
                await shutdown.shut_down(
                    serving, tables=self._tables, renew=parts.renew, uses=parts.uses
                )
        _log.info("stopped", action="stopped")

    def _load_trust_store(self) -> UpdatingTrustStore:
        """Return a store with the newest trust statement seen here. Raises KeyringError."""
        settings = self._settings
        kept = KeptTrust(settings.kept_trust_path)
        trust = kept.newest(self._trust, source=settings.trust_path)
        return UpdatingTrustStore(trust, wall_us=self._clock.wall_us, store=kept)

    @asynccontextmanager
    async def _run_background(self, parts: Parts) -> AsyncGenerator[asyncio.TaskGroup]:
        """Run the background work for the block, and cancel it at the end."""
        async with asyncio.TaskGroup() as tasks:
            transport = parts.transport.run(
                on_events=parts.follow.receive_push,
                on_wanted=parts.follow.receive_ack_request,
                on_connected=parts.beat_due.set,
            )
            runners = (parts.acknowledge, parts.renew, parts.uses, parts.offers)
            jobs = [
                tasks.create_task(transport),
                tasks.create_task(parts.follow.repair()),
                *(tasks.create_task(each.run()) for each in runners),
            ]
            if self._redis is not None:
                jobs.append(tasks.create_task(self._redis.run()))
            yield tasks
            for job in jobs:
                job.cancel()

    async def _serve(self, parts: Parts, tasks: asyncio.TaskGroup, serving: AsyncExitStack) -> None:
        """Listen on the Unix socket, over HTTP and gRPC, and start the announcement."""
        settings = self._settings
        server = self._build_socket_server(parts, tasks)
        await server.listen(settings.socket_path)
        serving.callback(server.stop)
        operations = health.Operations(
            parts.instances, parts.clock, parts.metrics, distrust=self._trust_store.problem
        )
        served = await serving.enter_async_context(
            data_plane.serving(
                operations,
                settings.http,
                number=settings.http_workers,
                environment=settings.for_workers(),
                tally=parts.tally,
                files=settings.files("http"),
            )
        )
        grpc_served = await self._serve_grpc(parts, serving)
        instance = parts.instances.current.instance.hex()
        _log.info(
            "ready",
            action="ready",
            socket=str(settings.socket_path),
            http=served.url,
            grpc=grpc_served and grpc_served.address,
            instance=instance,
        )
        # In a task of its own, because a stop must not wait for it.
        announcement = tasks.create_task(
            _announce(self._build_announcement(served, grpc_served, instance), parts)
        )
        serving.callback(announcement.cancel)

    async def _serve_grpc(self, parts: Parts, serving: AsyncExitStack) -> GrpcServed | None:
        settings = self._settings
        if settings.grpc is None:
            return None
        return await serving.enter_async_context(
            grpc_plane.serving(settings.grpc, environment=settings.for_workers(), tally=parts.tally)
        )

    def _build_socket_server(self, parts: Parts, tasks: asyncio.TaskGroup) -> SocketServer:
        settings = self._settings
        return SocketServer(
            lookup=parts.lookup,
            watchers=parts.watchers,
            clock=parts.clock,
            tally=parts.tally,
            tasks=tasks,
            service=settings.service,
            labels=settings.verifier_labels,
            posture=settings.posture,
            boot=self._boot,
        )

    def _build_announcement(
        self, served: Served, grpc_served: GrpcServed | None, instance: str
    ) -> Callable[..., None]:
        return partial(
            ready_line.announce,
            service=self._settings.service,
            instance=instance,
            socket=str(self._settings.socket_path),
            http=served.url,
            http_workers=served.pids,
            grpc=grpc_served and grpc_served.address,
            grpc_workers=grpc_served.pids if grpc_served else [],
            pid=os.getpid(),
        )


async def _announce(announce: Callable[..., None], parts: Parts) -> None:
    """Announce that the sidecar is ready; before that, if its enrolment is refused, announce why.

    A sidecar that cannot reach an authority is ready, too: it denies until it reaches one.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(_FIRST_ATTEMPT_S):
            await parts.enrol.tried.wait()
    why = parts.instances.current.refused
    if why is not None:
        announce(ready=False, why=why)
        await parts.enrol.done.wait()
    announce()


def _do_nothing() -> None:
    return None
