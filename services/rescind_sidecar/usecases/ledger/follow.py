"""The follower of the ledger: it applies pushed events, and fetches missing ones.

Only the seq in the events decides about order and loss, never a report of a client library.
"""

import asyncio

import structlog

from rescind.errors import MalformedMessageError, UnreachableError
from rescind.wire import events, heartbeat, signed_envelope
from rescind.wire.events import Batch
from rescind.wire.signed_envelope import SignedEnvelope
from rescind.wire.trust_statement import Purpose
from rescind_runtime.log_throttle import LogThrottle
from rescind_sidecar.ports import AuthorityLink, BootClock, TrustStore
from rescind_sidecar.stats.counters import Counters
from rescind_sidecar.usecases.instance import SidecarInstances
from rescind_sidecar.usecases.ledger.acknowledge import Acknowledger
from rescind_sidecar.usecases.ledger.change_notifier import ChangeNotifier
from rescind_sidecar.usecases.ledger.recovery_offers import RecoveryOffers
from rescind_sidecar.view.view import Behind, Current, Diverged, Progress, RefusedMessage

_RETRY_S = 0.2

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


class LedgerFollower:
    """Apply events to the view, and request missing events until they arrive."""

    def __init__(
        self,
        *,
        instances: SidecarInstances,
        link: AuthorityLink,
        trust_store: TrustStore,
        acknowledge: Acknowledger,
        offers: RecoveryOffers,
        watchers: ChangeNotifier,
        tally: Counters,
        clock: BootClock,
        beat_due: asyncio.Event,
    ) -> None:
        self._instances = instances
        self._link = link
        self._trust_store = trust_store
        self.trust_due = asyncio.Event()
        self._acknowledge = acknowledge
        self._offers = offers
        self._watchers = watchers
        self._tally = tally
        self._clock = clock
        self._refusals = LogThrottle()
        self._repairs = LogThrottle()
        self._beat_due = beat_due
        self._missing = asyncio.Event()

    def receive_push(self, payload: bytes) -> None:
        """Apply a batch of events from NATS, if it is genuine."""
        try:
            if not self._verify(signed_envelope.decode(payload)):
                return
            batch = events.decode_batch(payload)
        except MalformedMessageError as error:
            self.act_on(RefusedMessage(str(error)))
            return
        self._tally.events_pushed += len(batch.payloads)
        self._offers.keep(batch, payload)
        if batch.awaited:
            last = batch.first_seq + len(batch.payloads) - 1
            self._acknowledge.add_request(heartbeat.AckRequest(batch.epoch, last))
        self.act_on(self._instances.current.view.apply_push(batch))
        self._observe_latency(batch)

    def _observe_latency(self, batch: Batch) -> None:
        """Record the age of the last event of a batch, from its commit, if it is applied now."""
        view, last = self._instances.current.view, batch.first_seq + len(batch.payloads) - 1
        if view.applied is None or (view.applied.epoch, view.applied.seq) != (batch.epoch, last):
            return
        at_us = events.decode(batch.payloads[-1]).at_us
        age_us = view.age_us(at_us, self._clock.boottime_ns())
        if age_us is not None:
            self._tally.pushes_s.observe(age_us / 1e6)

    def _verify(self, signed: SignedEnvelope) -> bool:
        """Verify a batch's signature, before any of its content is decoded."""
        if self._trust_store.verify(Purpose.EVENTS, signed):
            return True
        if not self._trust_store.knows(Purpose.EVENTS, signed):
            # A key may have been rotated: the next enrolment brings the newest statement, and the
            # events of this batch come with the heartbeat or a repair.
            self.trust_due.set()
        self.act_on(RefusedMessage("a batch without a valid signature of the authority"))
        return False

    def note_trust(self, trust_serial: int, *, enrol_again: bool = False) -> None:
        """Request an enrolment if this serial is newer than ours, or `enrol_again` is set.

        The enrolment fetches the newest trust statement together with other news, such as edge
        keys. `enrol_again` means that another secret is ready.
        """
        if trust_serial > self._trust_store.serial or enrol_again:
            self.trust_due.set()

    def receive_ack_request(self, payload: bytes) -> None:
        """Handle a request to acknowledge a position."""
        try:
            self._acknowledge.add_request(heartbeat.decode_ack_request(payload))
        except MalformedMessageError as error:
            self.act_on(RefusedMessage(str(error)))
            return
        self._acknowledge.acknowledge_applied()

    def act_on(self, progress: Progress) -> None:
        """Act on the result of the view, whatever the source of the events."""
        match progress:
            case Current():
                pass
            case Behind():
                self._missing.set()
            case RefusedMessage(why):
                self._refuse(why)
            case Diverged(why):
                self._instances.begin_anew(why)
                self._beat_due.set()  # a new instance has no lease until its first reply
        self._acknowledge.acknowledge_applied()
        self._watchers.changed()

    def _refuse(self, why: str) -> None:
        """Count a refused message. Any peer can send one, so the log is throttled."""
        self._tally.messages_refused += 1
        withheld = self._refusals.due(self._clock.boottime_ns())
        if withheld is not None:
            _log.warning("refused a message", action="message.refused", why=why, withheld=withheld)

    async def repair(self) -> None:
        """Fetch missing events until cancelled."""
        while True:
            await self._missing.wait()
            self._missing.clear()
            try:
                await self.fetch_missing()
            except UnreachableError as error:
                self._report_failure(error)
                await asyncio.sleep(_RETRY_S)
                self._missing.set()

    def _report_failure(self, error: UnreachableError) -> None:
        withheld = self._repairs.due(self._clock.boottime_ns())
        if withheld is not None:
            _log.warning(
                "missing events cannot be fetched",
                action="repair.failed",
                why=str(error),
                withheld=withheld,
            )

    async def fetch_missing(self) -> None:
        """Request the events after the last applied one, once. Raises UnreachableError."""
        current = self._instances.current
        before, credentials = current.view.applied, current.credentials
        if before is None or credentials is None:
            return
        missing = await self._link.since(heartbeat.Since(before.epoch, before.seq), credentials)
        if current is not self._instances.current:
            return  # the instance that sent the request has ended
        self._tally.events_repaired += len(missing.payloads)
        progress = current.view.apply_repair(missing)
        if missing.payloads:
            _log.info(
                "fetched events that were missing",
                action="repair",
                after=before.seq,
                events=len(missing.payloads),
            )
        stuck = isinstance(progress, Behind) and current.view.applied == before
        # The sender of the batch had events that the authority does not have: the next lease
        # decides.
        self.act_on(Current() if stuck else progress)
