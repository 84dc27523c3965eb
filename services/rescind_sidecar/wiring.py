"""The sidecar put together: the one place that knows every part."""

import asyncio
import os
from contextlib import AsyncExitStack
from importlib.metadata import version

import structlog

from rescind.client.clock import boot_id
from rescind.core.posture import Posture
from rescind.core.secret import Secret
from rescind_runtime import ready
from rescind_runtime.clock import SystemClock
from rescind_runtime.signing import Trust
from rescind_runtime.supervise import Stop
from rescind_sidecar.dice import SystemDice
from rescind_sidecar.http import health
from rescind_sidecar.http import serving as data_plane
from rescind_sidecar.link.failover import FailoverTransport
from rescind_sidecar.link.http import HttpTransport
from rescind_sidecar.link.nats import NatsTransport
from rescind_sidecar.link.spoken import SpokenLink
from rescind_sidecar.metrics import SidecarMetrics
from rescind_sidecar.notary import FreshKeys, TrustNotary
from rescind_sidecar.ports import Link
from rescind_sidecar.redis.records import RedisRecords
from rescind_sidecar.settings import SidecarSettings
from rescind_sidecar.socket.server import Server
from rescind_sidecar.table_file import TableFile
from rescind_sidecar.usecases import shutdown
from rescind_sidecar.usecases.acknowledge import Acknowledge
from rescind_sidecar.usecases.answer import Answer
from rescind_sidecar.usecases.budget import Allowance, Budget
from rescind_sidecar.usecases.catch_up import CatchUp
from rescind_sidecar.usecases.enrol import Enrol
from rescind_sidecar.usecases.fetch import Fetch
from rescind_sidecar.usecases.follow import Follow
from rescind_sidecar.usecases.incarnations import Incarnations
from rescind_sidecar.usecases.offer import Offers
from rescind_sidecar.usecases.renew import Identity, Renew
from rescind_sidecar.usecases.tally import Tally
from rescind_sidecar.usecases.used import Uses
from rescind_sidecar.usecases.watchers import Watchers

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


class Sidecar:
    """One sidecar process: made of settings, alive inside `run`."""

    def __init__(self, settings: SidecarSettings) -> None:
        self._settings = settings
        self._clock = SystemClock()
        self._tally = Tally()
        self._boot = boot_id()
        self._tables = TableFile(
            settings.socket_path, boot=self._boot, posture=Posture.parse(settings.posture)
        )
        self._notary = TrustNotary(Trust.read(settings.trust_path))
        url = settings.redis_url
        self._redis = None if url is None else RedisRecords(url.get_secret_value())

    async def run(self, stop: Stop) -> None:
        """Serve until asked to stop; then stop in the order of `usecases/shutdown.py`."""
        self._settings.socket_path.parent.mkdir(parents=True, exist_ok=True)
        with self._tables.locked():
            _log.info(
                "a sidecar starts",
                action="started",
                service=self._settings.service,
                posture=self._settings.posture,
                version=version("rescind"),
            )
            await self._live(stop)
        _log.info("stopped", action="stopped")

    async def _live(self, stop: Stop) -> None:
        settings, dice = self._settings, SystemDice()
        nats = NatsTransport(
            settings.nats_url.get_secret_value(), name=f"rescind-sidecar-{settings.service}"
        )
        http = HttpTransport(settings.authorities) if settings.authorities else None
        transport = FailoverTransport(nats, http, self._tally)
        link = SpokenLink(transport)
        incarnations = Incarnations(
            self._tables, FreshKeys(), self._tally, records_capacity=settings.records
        )
        beat_due = asyncio.Event()
        acknowledge = Acknowledge(incarnations, link, self._tally)
        offers = Offers(incarnations, link)
        watchers = Watchers()
        follow = Follow(
            incarnations=incarnations,
            link=link,
            notary=self._notary,
            acknowledge=acknowledge,
            offers=offers,
            watchers=watchers,
            tally=self._tally,
            clock=self._clock,
            beat_due=beat_due,
        )
        enrol = Enrol(
            credential=Secret(settings.credential.get_secret_value()),
            service=settings.service,
            posture=settings.posture,
            link=link,
            notary=self._notary,
            dice=dice,
            tally=self._tally,
        )
        renew = Renew(
            identity=Identity(
                settings.service, settings.host, version("rescind"), settings.posture
            ),
            incarnations=incarnations,
            enrol=enrol,
            follow=follow,
            offers=offers,
            link=link,
            clock=self._clock,
            dice=dice,
            tally=self._tally,
            due=beat_due,
            interval_s=settings.heartbeat_s,
            pushes=lambda: transport.pushes,
        )

        uses = Uses(incarnations, link, dice, self._tally)

        async with asyncio.TaskGroup() as tasks:
            jobs = [
                tasks.create_task(
                    transport.run(
                        on_events=follow.pushed, on_wanted=follow.wanted, on_connected=beat_due.set
                    )
                ),
                tasks.create_task(follow.repair()),
                tasks.create_task(acknowledge.run()),
                tasks.create_task(renew.run()),
                tasks.create_task(uses.run()),
                tasks.create_task(offers.run()),
            ]
            if self._redis is not None:
                jobs.append(tasks.create_task(self._redis.run()))
            async with AsyncExitStack() as serving:
                await self._serve(
                    incarnations=incarnations,
                    follow=follow,
                    watchers=watchers,
                    link=link,
                    nats=nats,
                    transport=transport,
                    uses=uses,
                    tasks=tasks,
                    serving=serving,
                )
                await stop.wait()
                _log.info("asked to stop; its leases end now", action="stopping")
                await shutdown.shut_down(serving, tables=self._tables, renew=renew, uses=uses)
            for job in jobs:
                job.cancel()

    async def _serve(
        self,
        *,
        incarnations: Incarnations,
        follow: Follow,
        watchers: Watchers,
        link: Link,
        nats: NatsTransport,
        transport: FailoverTransport,
        uses: Uses,
        tasks: asyncio.TaskGroup,
        serving: AsyncExitStack,
    ) -> None:
        settings = self._settings
        fetch = Fetch(
            incarnations,
            link,
            self._notary,
            self._clock,
            self._tally,
            budget=Budget(Allowance.of(settings.first_sights_per_s)),
            shared=self._redis,
        )
        server = Server(
            answer=Answer(
                incarnations,
                fetch,
                CatchUp(incarnations, follow, self._clock),
                uses=uses,
                clock=self._clock,
                tally=self._tally,
                prefix=settings.token_prefix,
            ),
            watchers=watchers,
            clock=self._clock,
            tally=self._tally,
            tasks=tasks,
            service=settings.service,
            labels=settings.verifier_labels,
            posture=settings.posture,
            boot=self._boot,
        )
        await server.listen(settings.socket_path)
        serving.callback(server.stop)
        redis = self._redis
        metrics = SidecarMetrics(
            incarnations,
            self._tally,
            self._clock,
            nats=lambda: nats.connected,
            link=lambda: transport.way,
            redis=None if redis is None else lambda: redis.connected,
        )
        served = await serving.enter_async_context(
            data_plane.serving(
                health.Operations(incarnations, self._clock, metrics),
                settings.http,
                number=settings.http_workers,
                environment=settings.for_workers(),
                tally=self._tally,
            )
        )
        _log.info(
            "ready",
            action="ready",
            socket=str(settings.socket_path),
            http=served.url,
            instance=incarnations.current.instance.hex(),
        )
        ready.announce(
            service=settings.service,
            instance=incarnations.current.instance.hex(),
            socket=str(settings.socket_path),
            http=served.url,
            http_workers=served.pids,
            pid=os.getpid(),
        )
