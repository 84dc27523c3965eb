"""The parts of a sidecar: its background work, and the look-ups of workloads."""

import asyncio
from functools import cached_property
from importlib.metadata import version

from rescind.core.secret import Secret
from rescind_runtime.clock import SystemClock
from rescind_sidecar.link.authority_client import AuthorityClient
from rescind_sidecar.link.failover import FailoverTransport
from rescind_sidecar.link.http_transport import HttpTransport
from rescind_sidecar.link.nats_transport import NatsTransport
from rescind_sidecar.link.probe import Probe
from rescind_sidecar.prometheus import SidecarMetrics
from rescind_sidecar.random_source import SystemRandomSource
from rescind_sidecar.redis.record_cache import RedisRecordReader
from rescind_sidecar.settings import SidecarSettings
from rescind_sidecar.stats.counters import Counters
from rescind_sidecar.table_file import TableFile
from rescind_sidecar.trust_store import FreshKeys, UpdatingTrustStore
from rescind_sidecar.usecases.instance import SidecarInstances
from rescind_sidecar.usecases.lease.enrol import Enrol
from rescind_sidecar.usecases.lease.renew import Identity, Renew
from rescind_sidecar.usecases.ledger.acknowledge import Acknowledger
from rescind_sidecar.usecases.ledger.catch_up import CatchUp
from rescind_sidecar.usecases.ledger.change_notifier import ChangeNotifier
from rescind_sidecar.usecases.ledger.follow import LedgerFollower
from rescind_sidecar.usecases.ledger.recovery_offers import RecoveryOffers
from rescind_sidecar.usecases.lookup.answer import TokenLookup
from rescind_sidecar.usecases.lookup.fetch import Fetch
from rescind_sidecar.usecases.lookup.lookup_budgets import LookupBudgets, LookupLimits
from rescind_sidecar.usecases.lookup.usage_reports import UsageReports


class Parts:
    """The parts of one sidecar. Each part is built at its first use."""

    def __init__(
        self,
        settings: SidecarSettings,
        *,
        tables: TableFile,
        clock: SystemClock,
        tally: Counters,
        trust_store: UpdatingTrustStore,
        redis: RedisRecordReader | None,
    ) -> None:
        """Store the dependencies of the parts. `redis` is None if no Redis is configured."""
        self.clock = clock
        self.tally = tally
        self.beat_due = asyncio.Event()
        self._settings = settings
        self._tables = tables
        self._trust_store = trust_store
        self._redis = redis
        self._random = SystemRandomSource()

    # The instance, and the ways to the authority ------------------------------------------------

    @cached_property
    def instances(self) -> SidecarInstances:
        """Return the holder of this process's current instance."""
        return SidecarInstances(
            self._tables, FreshKeys(), self.tally, records_capacity=self._settings.records
        )

    @cached_property
    def nats(self) -> NatsTransport:
        """Return the transport to the authority over NATS."""
        return NatsTransport(self._settings.nats, name=f"rescind-sidecar-{self._settings.service}")

    @cached_property
    def transport(self) -> FailoverTransport:
        """Return the transport to the authority over NATS, else over HTTP."""
        urls = self._settings.authorities
        http = HttpTransport(urls, self._settings.files("authority")) if urls else None
        probe = Probe(self.instances, self._random, self.tally)
        return FailoverTransport(self.nats, http, self.tally, probe=probe)

    @cached_property
    def link(self) -> AuthorityClient:
        """Return the client that sends the sidecar's messages to the authority."""
        return AuthorityClient(self.transport, self.tally)

    # The ledger ---------------------------------------------------------------------------------

    @cached_property
    def acknowledge(self) -> Acknowledger:
        """Return the use case that acknowledges positions."""
        return Acknowledger(self.instances, self.link, self.tally)

    @cached_property
    def offers(self) -> RecoveryOffers:
        """Return the use case that offers events to a restored ledger."""
        return RecoveryOffers(self.instances, self.link)

    @cached_property
    def watchers(self) -> ChangeNotifier:
        """Return the notifier of table changes for workloads."""
        return ChangeNotifier()

    @cached_property
    def follow(self) -> LedgerFollower:
        """Return the use case that follows the ledger."""
        return LedgerFollower(
            instances=self.instances,
            link=self.link,
            trust_store=self._trust_store,
            acknowledge=self.acknowledge,
            offers=self.offers,
            watchers=self.watchers,
            tally=self.tally,
            clock=self.clock,
            beat_due=self.beat_due,
        )

    # The lease ----------------------------------------------------------------------------------

    @cached_property
    def enrol(self) -> Enrol:
        """Return the use case that enrols instances with the service's credential."""
        settings = self._settings
        return Enrol(
            credential=Secret(settings.credential.get_secret_value()),
            service=settings.service,
            posture=settings.posture,
            link=self.link,
            trust_store=self._trust_store,
            random_source=self._random,
            tally=self.tally,
        )

    @cached_property
    def renew(self) -> Renew:
        """Return the use case that renews the lease."""
        settings = self._settings
        identity = Identity(settings.service, settings.host, version("rescind"), settings.posture)
        return Renew(
            identity=identity,
            instances=self.instances,
            enrol=self.enrol,
            follow=self.follow,
            offers=self.offers,
            link=self.link,
            trust_store=self._trust_store,
            clock=self.clock,
            random_source=self._random,
            tally=self.tally,
            due=self.beat_due,
            interval_s=settings.heartbeat_s,
            pushes=lambda: self.transport.pushes,
        )

    # Look-ups -----------------------------------------------------------------------------------

    @cached_property
    def uses(self) -> UsageReports:
        """Return the use case that reports the tokens in use."""
        return UsageReports(self.instances, self.link, self.clock, self._random, self.tally)

    @cached_property
    def lookup(self) -> TokenLookup:
        """Return the use case that answers the look-ups of workloads."""
        fetch = Fetch(
            self.instances,
            self.link,
            self._trust_store,
            self.clock,
            self.tally,
            random_source=self._random,
            budgets=LookupBudgets(LookupLimits.of(self._settings.first_sights_per_s)),
            shared=self._redis,
        )
        return TokenLookup(
            self.instances,
            fetch,
            CatchUp(self.instances, self.follow, self.clock),
            uses=self.uses,
            clock=self.clock,
            tally=self.tally,
            prefix=self._settings.token_prefix,
        )

    @cached_property
    def metrics(self) -> SidecarMetrics:
        """Return the metrics of the sidecar, for Prometheus."""
        redis = self._redis
        return SidecarMetrics(
            self.instances,
            self.tally,
            self.clock,
            nats=lambda: self.nats.connected,
            link=lambda: self.transport.route,
            redis=None if redis is None else lambda: redis.connected,
        )
