"""Run one authority process."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, closing, suppress
from functools import cached_property
from importlib.metadata import version

import structlog

from rescind_authority.errors import StoreUnavailableError
from rescind_authority.http.app import application
from rescind_authority.http.dependencies import UseCases
from rescind_authority.keys.edge_keys import ReloadingEdgeKeys
from rescind_authority.keys.reloading_keyring import ReloadingKeyring, StatementRenewal
from rescind_authority.ledger_index import LedgerIndex
from rescind_authority.nats.connection import NatsAdapter
from rescind_authority.nats.publisher import NatsPublisher
from rescind_authority.nats.sidecar_requests import Requests
from rescind_authority.ports.metrics import Metrics
from rescind_authority.postgres import pool
from rescind_authority.postgres.migrate import Migrator
from rescind_authority.postgres.pool import Postgres
from rescind_authority.prometheus import PrometheusMetrics
from rescind_authority.redis.record_cache import RedisRecordWriter
from rescind_authority.settings import AuthoritySettings
from rescind_authority.usecases.sidecar_api import SidecarApi
from rescind_authority.wiring.core import Core
from rescind_authority.wiring.http_api import HttpApi, sidecar_api
from rescind_runtime import ready_line
from rescind_runtime.clock import SystemClock
from rescind_runtime.crypto.trust import KeyringError
from rescind_runtime.net import http_server, listen, nats_client
from rescind_runtime.net.certificates import ReloadingCertificate
from rescind_runtime.net.connection_limits import Connections
from rescind_runtime.net.proxies import Forwarded
from rescind_runtime.supervise import Stop

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


class Authority:
    """One authority process, built from settings and active inside `run`."""

    def __init__(
        self, settings: AuthoritySettings, *, announce: Callable[..., None] = ready_line.announce
    ) -> None:
        self._settings = settings
        self._announce = announce

    async def run(self, stop: Stop) -> None:
        """Serve until asked to stop; then finish the work in progress."""
        _log.info("an authority starts", action="started", version=version("rescind"))
        parts = _Parts(self._settings)
        certificate = ReloadingCertificate.of(self._settings.files("http"))
        if certificate is not None:
            stop.on_hangup = certificate.reload_if_changed
        with closing(parts.index):
            async with pool.connect(self._settings.postgres) as postgres:
                await _require_schema(postgres)
                core = parts.core(postgres)
                sidecars = sidecar_api(core, parts.keyring, parts.edge_keys)
                link = parts.link(core, sidecars)
                api = HttpApi(
                    self._settings, core, keyring=parts.keyring, edge_keys=parts.edge_keys
                )
                use_cases = api.use_cases(sidecars=sidecars, link=link, migrator=Migrator(postgres))
                async with (
                    _working(core, link, parts.keyring, parts.redis),
                    self._serving(use_cases, certificate),
                ):
                    await stop.wait()
                    _log.info("asked to stop; finishing what was begun", action="stopping")
                    core.recent.end()
        _log.info("stopped", action="stopped")

    @asynccontextmanager
    async def _serving(
        self, use_cases: UseCases, certificate: ReloadingCertificate | None
    ) -> AsyncGenerator[None]:
        """Serve the HTTP API, and announce its URL."""
        proxies = self._settings.proxies
        app = application(use_cases, issuer=self._settings.issuer)
        connections = Connections(http_server.limits(), many_behind=proxies.__contains__)
        _publish_connections(use_cases.metrics, connections)
        async with http_server.serving(
            Forwarded(app, proxies),
            self._settings.http,
            connections=connections,
            certificate=certificate,
        ) as url:
            if self._settings.issuer is None and not listen.everywhere(url):
                app.state.issuer = url
            self._announce(http=url, pid=os.getpid())
            _log.info("ready", action="ready", http=url, version=version("rescind"))
            yield


class _Parts:
    """The parts of an authority that exist before its connections."""

    def __init__(self, settings: AuthoritySettings) -> None:
        """Read the keys. Raises KeyringError, KeyFileError or TlsError for an invalid file."""
        self._settings = settings
        self._metrics = PrometheusMetrics()
        self.edge_keys = ReloadingEdgeKeys(settings.edge_keys_path, SystemClock())
        self.keyring = _keyring(settings)
        self._metrics.watch(
            "trust_left_seconds",
            "For how long the trust statement is valid.",
            lambda: self.keyring.left_s,
        )
        nats_client.options(settings.nats)  # a file that cannot be used ends this now
        self.index = LedgerIndex(settings.ledger_index_path)
        self.redis = self._redis()

    def _redis(self) -> RedisRecordWriter | None:
        link = self._settings.redis
        if link is None:
            return None
        redis = RedisRecordWriter(link, self._metrics)
        self._metrics.watch(
            "redis_connected", "1 if Redis answers, else 0.", lambda: redis.connected
        )
        return redis

    @cached_property
    def _publisher(self) -> NatsPublisher:
        return NatsPublisher(self.keyring, self._metrics)

    def core(self, postgres: Postgres) -> Core:
        """Build the background work around a Postgres."""
        return Core(
            postgres,
            announcer=self._publisher,
            caller=self._publisher,
            keys=self.keyring,
            metrics=self._metrics,
            shared=self.redis,
            index=self.index,
        )

    def link(self, core: Core, sidecars: SidecarApi) -> NatsAdapter:
        """Build the NATS adapter, which connects to sidecars."""
        requests = Requests(sidecars, keys=self.keyring, recent=core.recent, metrics=self._metrics)
        link = NatsAdapter(self._settings.nats, publisher=self._publisher, requests=requests)
        self._metrics.watch(
            "nats_connected", "1 if NATS is connected, else 0.", lambda: link.connected
        )
        return link


@asynccontextmanager
async def _working(
    core: Core, link: NatsAdapter, keyring: ReloadingKeyring, redis: RedisRecordWriter | None
) -> AsyncGenerator[None]:
    """Run the background work; cancel it at the end of the block."""
    async with asyncio.TaskGroup() as tasks:
        jobs = [tasks.create_task(job.run()) for job in (core, link, keyring)]
        if redis is not None:
            jobs.append(tasks.create_task(redis.run()))
        yield
        for job in jobs:
            job.cancel()


def _publish_connections(metrics: Metrics, connections: Connections) -> None:
    metrics.watch("http_connections", "HTTP connections that are open.", lambda: len(connections))
    metrics.watch(
        "http_connections_closed",
        "HTTP connections closed to make room for others, since the start.",
        lambda: connections.closed_for_others,
    )


async def _require_schema(postgres: Postgres) -> None:
    """Raise MigrationError for a schema of another version. Without Postgres, do nothing."""
    with suppress(StoreUnavailableError):
        await Migrator(postgres).require_current()


def _keyring(settings: AuthoritySettings) -> ReloadingKeyring:
    renewal = StatementRenewal(settings.root_key_path, settings.trust_path, settings.trust_life_us)
    keyring = ReloadingKeyring(settings.keyring_path, SystemClock(), renewal=renewal)
    if not keyring.rows or keyring.adopting:
        raise KeyringError(
            f"the keyring {settings.keyring_path} has no key for rows, or not all rows have their "
            "MAC: run `rescind migrate` on one host, and copy its keyring to the others"
        )
    return keyring
