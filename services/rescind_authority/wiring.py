"""The authority put together: the one place that knows every part."""

import asyncio
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version

import structlog

from rescind.errors import RescindError
from rescind_authority.edge_keys import LiveEdgeKeys
from rescind_authority.http.app import application
from rescind_authority.http.context import Health, UseCases
from rescind_authority.live_keyring import LiveKeyring
from rescind_authority.metrics import Metrics
from rescind_authority.nats.link import Link
from rescind_authority.nats.publisher import Publisher as NatsPublisher
from rescind_authority.nats.requests import Requests
from rescind_authority.ports.fleet import Announcer, Caller
from rescind_authority.ports.keys import EdgeKeys, Keys
from rescind_authority.ports.tokens import SharedRecords
from rescind_authority.postgres import pool
from rescind_authority.postgres.enrolments import PostgresEnrolments
from rescind_authority.postgres.epochs import PostgresEpochs
from rescind_authority.postgres.leases import PostgresLeases
from rescind_authority.postgres.ledger import PostgresLedger
from rescind_authority.postgres.migrate import Migrator
from rescind_authority.postgres.pool import Postgres
from rescind_authority.postgres.receipts import PostgresReceipts
from rescind_authority.postgres.records import PostgresRecords
from rescind_authority.postgres.revocations import PostgresRevocations
from rescind_authority.postgres.sweeps import PostgresSweeps
from rescind_authority.postgres.terms import PostgresTerms
from rescind_authority.postgres.tokens import PostgresTokens
from rescind_authority.redis.records import RedisRecords
from rescind_authority.settings import AuthoritySettings
from rescind_authority.usecases.acknowledgements import Acknowledgements
from rescind_authority.usecases.authorise import Authoriser
from rescind_authority.usecases.change import Changer
from rescind_authority.usecases.claims import ClaimKeeper
from rescind_authority.usecases.delegate import Delegator
from rescind_authority.usecases.desk import Desk
from rescind_authority.usecases.ends import EndTimer
from rescind_authority.usecases.enforce import Enforcer
from rescind_authority.usecases.enrol import Enroller
from rescind_authority.usecases.grant import Granter
from rescind_authority.usecases.instances import Instances
from rescind_authority.usecases.issue import Issuer
from rescind_authority.usecases.lift import Lifter
from rescind_authority.usecases.listing import Lister
from rescind_authority.usecases.look import Looker
from rescind_authority.usecases.membership import Membership
from rescind_authority.usecases.mint import Mint
from rescind_authority.usecases.publish import Publisher
from rescind_authority.usecases.radius import Previews
from rescind_authority.usecases.recent import Recent
from rescind_authority.usecases.resolve import Resolver
from rescind_authority.usecases.reuse import Reuse
from rescind_authority.usecases.revoke import Revoker
from rescind_authority.usecases.salvage import Salvage
from rescind_authority.usecases.sequence import Sequencer
from rescind_authority.usecases.sessions import Sessions
from rescind_authority.usecases.sweep import Sweeper
from rescind_authority.usecases.term import TermKeeper
from rescind_authority.usecases.tree import Trees
from rescind_authority.usecases.until import UntilKeeper
from rescind_authority.usecases.usage import Usage
from rescind_runtime import ready, web
from rescind_runtime.clock import SystemClock
from rescind_runtime.supervise import Stop

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


@dataclass(frozen=True, slots=True)
class Core:
    """The use cases that work in the background, around one Postgres."""

    metrics: Metrics
    ledger: PostgresLedger
    records: PostgresRecords
    leases: PostgresLeases
    recent: Recent
    resolver: Resolver
    reuse: Reuse
    granter: Granter
    sequencer: Sequencer
    usage: Usage
    acknowledgements: Acknowledgements
    enforcer: Enforcer
    term: TermKeeper
    until: UntilKeeper
    ends: EndTimer
    salvage: Salvage
    sweeper: Sweeper
    claims: ClaimKeeper
    enrolments: PostgresEnrolments
    membership: Membership

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            parts = (
                self.recent,
                self.resolver,
                self.granter,
                self.sequencer,
                self.usage,
                self.enforcer,
                self.term,
                self.until,
                self.ends,
                self.reuse,
                self.sweeper,
                self.claims,
                self.membership,
            )
            for part in parts:
                tasks.create_task(part.run())


def core(
    postgres: Postgres,
    *,
    announcer: Announcer,
    caller: Caller,
    keys: Keys,
    metrics: Metrics,
    shared: SharedRecords | None = None,
) -> Core:
    """Put the core together. `shared` is None where there is no Redis."""
    ledger, records = PostgresLedger(postgres), PostgresRecords(postgres)
    leases, enrolments = PostgresLeases(postgres), PostgresEnrolments(postgres)
    recent = Recent(ledger)
    sequencer = Sequencer(
        ledger,
        publisher=Publisher(announcer=announcer, recent=recent),
        clock=SystemClock(),
        metrics=metrics,
    )
    metrics.watch("queued_revocations", "Commands that wait for a commit.", lambda: sequencer.depth)
    metrics.watch(
        "postgres_connected", "Whether Postgres answers.", lambda: recent.reaches_postgres
    )
    metrics.watch("head_seq", "Seq of the last event known here.", lambda: recent.last)
    acknowledgements = Acknowledgements(SystemClock())
    granter = Granter(leases, recent=recent, metrics=metrics)
    sweeps = PostgresSweeps(postgres)
    sweeper = Sweeper(sweeps, tokens=PostgresTokens(postgres), clock=SystemClock(), metrics=metrics)
    metrics.watch(
        "sweep_backlog_events",
        "Revokes whose tokens are not all stamped, up to 10,000.",
        lambda: sweeper.waiting,
    )
    metrics.watch("leases", "Leases granted here that may still be valid.", lambda: granter.leases)
    reuse = Reuse(sequencer, clock=SystemClock(), entropy=secrets.token_bytes)
    enforcer = Enforcer(
        PostgresReceipts(postgres),
        acknowledgements=acknowledgements,
        keys=keys,
        caller=caller,
        clock=SystemClock(),
    )
    metrics.watch(
        "silent_sidecars",
        "Sidecars that have said nothing for a full wait, and did not take their leave.",
        lambda: enforcer.silent,
    )
    return Core(
        metrics=metrics,
        ledger=ledger,
        records=records,
        leases=leases,
        recent=recent,
        resolver=Resolver(records, keys=keys, metrics=metrics, watch=reuse.saw, shared=shared),
        reuse=reuse,
        granter=granter,
        sequencer=sequencer,
        usage=Usage(PostgresTokens(postgres), metrics=metrics),
        acknowledgements=acknowledgements,
        enforcer=enforcer,
        term=TermKeeper(PostgresTerms(postgres), clock=SystemClock()),
        until=UntilKeeper(
            PostgresRevocations(postgres),
            sequencer=sequencer,
            clock=SystemClock(),
            entropy=secrets.token_bytes,
        ),
        ends=EndTimer(
            records, sequencer=sequencer, clock=SystemClock(), entropy=secrets.token_bytes
        ),
        salvage=Salvage(
            PostgresEpochs(postgres),
            sequencer=sequencer,
            keys=keys,
            clock=SystemClock(),
            entropy=secrets.token_bytes,
        ),
        sweeper=sweeper,
        claims=ClaimKeeper(sweeps),
        enrolments=enrolments,
        membership=Membership(enrolments, records=records),
    )


def desk(parts: Core, keyring: LiveKeyring, edge_keys: EdgeKeys) -> Desk:
    """Put together what sidecars ask, whichever way they come."""
    instances = Instances(master=keyring.master, recent=parts.recent)
    enroller = Enroller(
        parts.resolver,
        keys=keyring,
        instances=instances,
        recent=parts.recent,
        edge_keys=edge_keys,
        enrolments=parts.enrolments,
    )
    return Desk(
        granter=parts.granter,
        resolver=parts.resolver,
        recent=parts.recent,
        enroller=enroller,
        instances=instances,
        membership=parts.membership,
        keys=keyring,
        usage=parts.usage,
        acknowledgements=parts.acknowledgements,
        salvage=parts.salvage,
    )


class Authority:
    """One authority process: made of settings, alive inside `run`."""

    def __init__(
        self, settings: AuthoritySettings, *, announce: Callable[..., None] = ready.announce
    ) -> None:
        self._settings = settings
        self._announce = announce

    async def run(self, stop: Stop) -> None:
        """Serve until asked to stop; then finish what was begun."""
        _log.info("an authority starts", action="started", version=version("rescind"))
        edge_keys = LiveEdgeKeys(self._settings.edge_keys_path, SystemClock())
        metrics = Metrics()
        keyring = LiveKeyring(self._settings.keyring_path, SystemClock())
        publisher = NatsPublisher(keyring, metrics)
        redis_url = self._settings.redis_url
        redis = None if redis_url is None else RedisRecords(redis_url.get_secret_value(), metrics)
        async with pool.connect(self._settings.postgres_dsn.get_secret_value()) as postgres:
            parts = core(
                postgres,
                announcer=publisher,
                caller=publisher,
                keys=keyring,
                metrics=metrics,
                shared=redis,
            )
            counter = desk(parts, keyring, edge_keys)
            link = Link(
                self._settings.nats_url.get_secret_value(),
                publisher=publisher,
                requests=Requests(
                    counter,
                    keys=keyring,
                    recent=parts.recent,
                    metrics=metrics,
                ),
            )
            metrics.watch("nats_connected", "Whether NATS is there.", lambda: link.connected)
            if redis is not None:
                metrics.watch("redis_connected", "Whether Redis is there.", lambda: redis.connected)
            use_cases = self._use_cases(
                postgres,
                parts,
                link=link,
                counter=counter,
                edge_keys=edge_keys,
                keys=keyring,
            )
            async with asyncio.TaskGroup() as tasks:
                jobs = [tasks.create_task(job.run()) for job in (parts, link, keyring)]
                if redis is not None:
                    jobs.append(tasks.create_task(redis.run()))
                async with web.serving(application(use_cases), self._settings.http) as url:
                    self._announce(http=url, pid=os.getpid())
                    _log.info("ready", action="ready", http=url, version=version("rescind"))
                    await stop.wait()
                    _log.info("asked to stop; finishing what was begun", action="stopping")
                    parts.recent.end()
                for job in jobs:
                    job.cancel()
        _log.info("stopped", action="stopped")

    def _use_cases(
        self,
        postgres: Postgres,
        parts: Core,
        *,
        link: Link,
        counter: Desk,
        edge_keys: EdgeKeys,
        keys: Keys,
    ) -> UseCases:
        prefix, clock = self._settings.token_prefix, SystemClock()
        mint = Mint(clock=clock, entropy=secrets.token_bytes, edge_keys=edge_keys, prefix=prefix)
        table, revocations = PostgresTokens(postgres), PostgresRevocations(postgres)
        migrator = Migrator(postgres)

        async def health() -> Health:
            return await _health(migrator, link)

        looker = Looker(
            records=parts.records,
            lister=Lister(table, clock=clock),
            revocations=revocations,
            leases=parts.leases,
            ledger=parts.ledger,
            recent=parts.recent,
            prefix=prefix,
        )
        return UseCases(
            authoriser=Authoriser(parts.resolver, edge_keys=edge_keys, prefix=prefix),
            issuer=Issuer(parts.ledger, mint=mint),
            delegator=Delegator(parts.ledger, mint=mint),
            revoker=Revoker(
                parts.sequencer,
                resolver=parts.resolver,
                table=table,
                until=parts.until,
                previews=Previews(table, above=self._settings.preview_above),
                clock=clock,
                entropy=secrets.token_bytes,
                prefix=prefix,
            ),
            membership=parts.membership,
            lifter=Lifter(
                parts.sequencer,
                revocations=revocations,
                table=table,
                clock=clock,
                entropy=secrets.token_bytes,
            ),
            changer=Changer(parts.sequencer, records=parts.records, mint=mint, ends=parts.ends),
            sessions=Sessions(
                looker, sequencer=parts.sequencer, clock=clock, entropy=secrets.token_bytes
            ),
            looker=looker,
            trees=Trees(looker, table),
            enforcer=parts.enforcer,
            keys=keys,
            desk=counter,
            term=parts.term,
            metrics=parts.metrics,
            health=health,
        )


async def _health(migrator: Migrator, link: Link) -> Health:
    nats = "ok" if link.connected else "not connected; sidecars ask over HTTP meanwhile"
    try:
        migrated = await migrator.ready()
    except RescindError as error:
        return Health(ready=False, postgres=str(error), nats=nats)
    postgres = "ok" if migrated else "not migrated: run `rescind migrate`"
    return Health(ready=migrated, postgres=postgres, nats=nats)
