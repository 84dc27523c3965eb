"""Build the use cases that work in the background, around one Postgres."""

import asyncio
import secrets
from functools import cached_property

from rescind_authority.ledger_index import LedgerIndex
from rescind_authority.ports.broadcast import AcknowledgementCaller, EventAnnouncer
from rescind_authority.ports.keys import Keys
from rescind_authority.ports.metrics import Metrics
from rescind_authority.ports.tokens import SharedRecordWriter
from rescind_authority.postgres.audit import PostgresAudit
from rescind_authority.postgres.clients import PostgresClients
from rescind_authority.postgres.enrolments import PostgresEnrolments
from rescind_authority.postgres.epochs import PostgresEpochs
from rescind_authority.postgres.integrity.ledger_watch import LedgerWatch
from rescind_authority.postgres.integrity.row_guard import RowGuard
from rescind_authority.postgres.integrity.row_rewriter import RowRewriter
from rescind_authority.postgres.lease_term import PostgresTerms
from rescind_authority.postgres.leases import PostgresLeases
from rescind_authority.postgres.ledger import PostgresLedger
from rescind_authority.postgres.pool import Postgres
from rescind_authority.postgres.receipts import PostgresReceipts
from rescind_authority.postgres.records import PostgresRecords
from rescind_authority.postgres.revocations import PostgresRevocations
from rescind_authority.postgres.revoked_marks import PostgresSweeps
from rescind_authority.postgres.token_search import PostgresTokens
from rescind_authority.usecases.access.refusal_audit import RefusalAudit
from rescind_authority.usecases.enforcement.acknowledgements import Acknowledgements
from rescind_authority.usecases.enforcement.enforcer import Enforcer
from rescind_authority.usecases.integrity.refused_rows import RefusedRows
from rescind_authority.usecases.integrity.row_renewal import RowRenewal
from rescind_authority.usecases.leases.grant import Granter
from rescind_authority.usecases.leases.lease_term import LeaseTermScheduler
from rescind_authority.usecases.leases.membership import Membership
from rescind_authority.usecases.ledger.idempotency import IdempotencyKeyReaper
from rescind_authority.usecases.ledger.publisher import Publisher
from rescind_authority.usecases.ledger.recent_events import RecentEvents
from rescind_authority.usecases.ledger.recovery import Recovery
from rescind_authority.usecases.ledger.sequencer import Sequencer
from rescind_authority.usecases.lookups.resolver import Resolver
from rescind_authority.usecases.lookups.reuse_detection import ReuseDetector
from rescind_authority.usecases.read_model.revoked_marks import Sweeper
from rescind_authority.usecases.revocations.hit_counts import HitCounter
from rescind_authority.usecases.revocations.scheduled_lifts import LiftScheduler
from rescind_authority.usecases.tokens.end_timer import EndTimer
from rescind_authority.usecases.tokens.last_used import Usage
from rescind_runtime.clock import SystemClock


class Core:
    """The use cases that work in the background. Each part is built when it is first needed."""

    def __init__(
        self,
        postgres: Postgres,
        *,
        announcer: EventAnnouncer,
        caller: AcknowledgementCaller,
        keys: Keys,
        metrics: Metrics,
        shared: SharedRecordWriter | None = None,
        index: LedgerIndex | None = None,
    ) -> None:
        """Store the dependencies of the parts.

        `shared` is None if there is no Redis. Without an `index`, the ledger is accepted in its
        state at the start.
        """
        self.metrics = metrics
        self._postgres = postgres
        self._announcer = announcer
        self._caller = caller
        self._keys = keys
        self._shared = shared
        self._index = index
        self.clock = SystemClock()
        self._publish_gauges()

    async def run(self) -> None:
        """Run every part until cancelled."""
        parts = (
            self.recent,
            self.resolver,
            self.granter,
            self.sequencer,
            self.usage,
            self.enforcer,
            self.term,
            self.lift_scheduler,
            self.ends,
            self.reuse,
            self._sweeper,
            self._idempotency,
            self.membership,
            self.refusals,
            self._renewal,
            self.watch,
        )
        async with asyncio.TaskGroup() as tasks:
            for part in parts:
                tasks.create_task(part.run())

    # The data in Postgres, and its guard ---------------------------------------------------------

    @cached_property
    def refusals(self) -> RefusalAudit:
        """Return the audit of refused calls."""
        audit = PostgresAudit(self._postgres)
        return RefusalAudit(audit, clock=self.clock, metrics=self.metrics)

    @cached_property
    def watch(self) -> LedgerWatch:
        """Return the comparison of the ledger in Postgres with the one that this host has seen."""
        return LedgerWatch(
            self._index or LedgerIndex(None),
            self._keys,
            self._postgres.rows,
            reconnect=self._postgres.reconnect,
            begins=self._index is None,
        )

    @cached_property
    def guard(self) -> RowGuard:
        """Return the check of the MAC of each row that is read."""
        refused = RefusedRows(self.refusals.queue, clock=self.clock, metrics=self.metrics)
        return RowGuard(self._keys, refused=refused.report, watch=self.watch)

    @cached_property
    def _renewal(self) -> RowRenewal:
        return RowRenewal(RowRewriter(self._postgres, self.guard, self._keys), keys=self._keys)

    @cached_property
    def tokens(self) -> PostgresTokens:
        """Return the searches of the token table."""
        return PostgresTokens(self._postgres)

    @cached_property
    def records(self) -> PostgresRecords:
        """Return the tokens, each with the revocations that may apply to it."""
        return PostgresRecords(self._postgres, self.guard)

    @cached_property
    def revocations(self) -> PostgresRevocations:
        """Return the reads and lists of revocations."""
        return PostgresRevocations(self._postgres, self.guard)

    @cached_property
    def leases(self) -> PostgresLeases:
        """Return the lease of each sidecar."""
        return PostgresLeases(self._postgres, self.guard)

    @cached_property
    def enrolments(self) -> PostgresEnrolments:
        """Return the enrolments of sidecar instances."""
        return PostgresEnrolments(self._postgres, self.guard)

    @cached_property
    def clients(self) -> PostgresClients:
        """Return the OAuth clients."""
        return PostgresClients(self._postgres)

    # The ledger ---------------------------------------------------------------------------------

    @cached_property
    def ledger(self) -> PostgresLedger:
        """Return the ledger in Postgres."""
        return PostgresLedger(self._postgres, self.guard)

    @cached_property
    def recent(self) -> RecentEvents:
        """Return the end of the ledger, in memory."""
        return RecentEvents(self.ledger, clock=self.clock, on_batch=self.watch.offer)

    @cached_property
    def sequencer(self) -> Sequencer:
        """Return the one writer of the ledger in this process."""
        return Sequencer(
            self.ledger,
            publisher=Publisher(announcer=self._announcer, recent=self.recent),
            clock=self.clock,
            metrics=self.metrics,
        )

    @cached_property
    def recovery(self) -> Recovery:
        """Return the recovery of lost events from sidecars after a restore."""
        return Recovery(
            PostgresEpochs(self._postgres, self.guard),
            sequencer=self.sequencer,
            keys=self._keys,
            clock=self.clock,
            entropy=secrets.token_bytes,
        )

    @cached_property
    def _sweeps(self) -> PostgresSweeps:
        return PostgresSweeps(self._postgres)

    @cached_property
    def _sweeper(self) -> Sweeper:
        return Sweeper(self._sweeps, tokens=self.tokens, clock=self.clock, metrics=self.metrics)

    @cached_property
    def _idempotency(self) -> IdempotencyKeyReaper:
        return IdempotencyKeyReaper(self._sweeps)

    # Tokens -------------------------------------------------------------------------------------

    @cached_property
    def resolver(self) -> Resolver:
        """Return the look-ups by secret."""
        return Resolver(
            self.records,
            keys=self._keys,
            clock=self.clock,
            metrics=self.metrics,
            watch=self.reuse.check,
            shared=self._shared,
        )

    @cached_property
    def reuse(self) -> ReuseDetector:
        """Return the detection of reuse, which ends a token whose rotated secret is used again."""
        return ReuseDetector(self.sequencer, clock=self.clock, entropy=secrets.token_bytes)

    @cached_property
    def usage(self) -> Usage:
        """Return the record of when each token was last used."""
        return Usage(self.tokens, metrics=self.metrics)

    @cached_property
    def ends(self) -> EndTimer:
        """Return the timer that commits scheduled ends."""
        return EndTimer(
            self.records,
            sequencer=self.sequencer,
            clock=self.clock,
            entropy=secrets.token_bytes,
        )

    # Leases, and the waits for them -------------------------------------------------------------

    @cached_property
    def membership(self) -> Membership:
        """Return the check of membership: a valid credential, and a match with the enrolment."""
        return Membership(self.enrolments, records=self.records, clock=self.clock)

    @cached_property
    def granter(self) -> Granter:
        """Return the granter of leases."""
        return Granter(self.leases, recent=self.recent, clock=self.clock, metrics=self.metrics)

    @cached_property
    def term(self) -> LeaseTermScheduler:
        """Return the scheduler that changes the lease term, step by step."""
        return LeaseTermScheduler(PostgresTerms(self._postgres), clock=self.clock)

    @cached_property
    def acknowledgements(self) -> Acknowledgements:
        """Return the acknowledgements of sidecars."""
        return Acknowledgements(self.clock)

    @cached_property
    def hit_counter(self) -> HitCounter:
        """Return the number of tokens that each revocation hit."""
        return HitCounter(self.tokens, revocations=self.revocations)

    @cached_property
    def enforcer(self) -> Enforcer:
        """Return the enforcer, which waits until revocations are enforced, and signs receipts."""
        return Enforcer(
            PostgresReceipts(self._postgres),
            acknowledgements=self.acknowledgements,
            keys=self._keys,
            caller=self._caller,
            clock=self.clock,
            hit_counter=self.hit_counter,
        )

    @cached_property
    def lift_scheduler(self) -> LiftScheduler:
        """Return the scheduler that lifts suspensions and narrowings whose time is up."""
        return LiftScheduler(
            self.revocations,
            sequencer=self.sequencer,
            clock=self.clock,
            entropy=secrets.token_bytes,
        )

    def _publish_gauges(self) -> None:
        watch = self.metrics.watch
        watch(
            "queued_revocations", "Commands that wait for a commit.", lambda: self.sequencer.depth
        )
        watch(
            "postgres_connected",
            "1 if Postgres answers, else 0.",
            lambda: self.recent.reaches_postgres,
        )
        watch("head_seq", "Seq of the last event known here.", lambda: self.recent.last)
        watch(
            "ledger_forged",
            "1 if the ledger in Postgres is not the one that this host has seen, else 0.",
            lambda: self.watch.problem is not None,
        )
        watch(
            "sweep_backlog_events",
            "Revokes whose tokens are not all stamped, up to 10,000.",
            lambda: self._sweeper.waiting,
        )
        watch("leases", "Leases granted here that may still be valid.", lambda: self.granter.leases)
        watch(
            "silent_sidecars",
            "Sidecars that have said nothing for a full wait, and did not take their leave.",
            lambda: self.enforcer.silent,
        )
