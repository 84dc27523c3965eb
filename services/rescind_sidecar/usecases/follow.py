"""Follow the ledger: take what is pushed, notice what is missing, fetch it.

Nothing that a client library says about order or loss is trusted: the seq in the events is.
"""

import asyncio

import structlog

from rescind.errors import MalformedMessageError, UnreachableError
from rescind.wire import events, heartbeat, sealed
from rescind.wire.events import Batch
from rescind.wire.sealed import Sealed
from rescind.wire.trust import Purpose
from rescind_runtime.seldom import Seldom
from rescind_sidecar.ports import Clock, Link, Notary
from rescind_sidecar.usecases.acknowledge import Acknowledge
from rescind_sidecar.usecases.incarnations import Incarnations
from rescind_sidecar.usecases.offer import Offers
from rescind_sidecar.usecases.tally import Tally
from rescind_sidecar.usecases.watchers import Watchers
from rescind_sidecar.view.view import Behind, Current, Diverged, Progress, Refused

_RETRY_S = 0.2

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


class Follow:
    """Bring the view forward, and keep asking while something is missing."""

    def __init__(
        self,
        *,
        incarnations: Incarnations,
        link: Link,
        notary: Notary,
        acknowledge: Acknowledge,
        offers: Offers,
        watchers: Watchers,
        tally: Tally,
        clock: Clock,
        beat_due: asyncio.Event,
    ) -> None:
        self._incarnations = incarnations
        self._link = link
        self._notary = notary
        self.trust_due = asyncio.Event()
        self._acknowledge = acknowledge
        self._offers = offers
        self._watchers = watchers
        self._tally = tally
        self._clock = clock
        self._refusals = Seldom()
        self._repairs = Seldom()
        self._beat_due = beat_due
        self._missing = asyncio.Event()

    def pushed(self, payload: bytes) -> None:
        """Take a batch of events as NATS brought it, whatever it is."""
        try:
            if not self._believed(sealed.decode(payload)):
                return
            batch = events.decode_batch(payload)
        except MalformedMessageError as error:
            self.settle(Refused(str(error)))
            return
        self._tally.events_pushed += len(batch.payloads)
        self._offers.keep(batch, payload)
        if batch.awaited:
            last = batch.first_seq + len(batch.payloads) - 1
            self._acknowledge.wanted(heartbeat.Wanted(batch.epoch, last))
        self.settle(self._incarnations.current.view.pushed(batch))
        self._time(batch)

    def _time(self, batch: Batch) -> None:
        """Note how long ago the last event of a batch was committed, if it is applied now."""
        view, last = self._incarnations.current.view, batch.first_seq + len(batch.payloads) - 1
        if view.applied is None or (view.applied.epoch, view.applied.seq) != (batch.epoch, last):
            return
        at_us = events.decode(batch.payloads[-1]).at_us
        age_us = view.age_us(at_us, self._clock.boottime_ns())
        if age_us is not None:
            self._tally.pushes_s.observe(age_us / 1e6)

    def _believed(self, signed: Sealed) -> bool:
        """Check a batch's signature before anything of it is decoded."""
        if self._notary.verify(Purpose.EVENTS, signed):
            return True
        if not self._notary.knows(Purpose.EVENTS, signed):
            # A key may have been rotated: the next enrolment brings the newest statement, and the
            # events of this batch come with the heartbeat or a repair.
            self.trust_due.set()
        self.settle(Refused("a batch that no key of ours signed"))
        return False

    def told(self, trust_serial: int) -> None:
        """Hear the number of the authority's newest trust statement; fetch it if ours is older."""
        if trust_serial > self._notary.serial:
            self.trust_due.set()

    def wanted(self, payload: bytes) -> None:
        """Take the wish to hear how far this sidecar has come."""
        try:
            self._acknowledge.wanted(heartbeat.decode_wanted(payload))
        except MalformedMessageError as error:
            self.settle(Refused(str(error)))
            return
        self._acknowledge.progressed()

    def settle(self, progress: Progress) -> None:
        """Do what follows from what the view said, wherever its news came from."""
        match progress:
            case Current():
                pass
            case Behind():
                self._missing.set()
            case Refused(why):
                self._refuse(why)
            case Diverged(why):
                self._incarnations.begin_anew(why)
                self._beat_due.set()  # a new instance has no lease until its first reply
        self._acknowledge.progressed()
        self._watchers.changed()

    def _refuse(self, why: str) -> None:
        """Count what is not what it claims to be; anybody can send it, so the log is spared."""
        self._tally.messages_refused += 1
        withheld = self._refusals.due(self._clock.boottime_ns())
        if withheld is not None:
            _log.warning("refused a message", action="message.refused", why=why, withheld=withheld)

    async def repair(self) -> None:
        """Fetch missing events, for as long as the process lives."""
        while True:
            await self._missing.wait()
            self._missing.clear()
            try:
                await self.fetch()
            except UnreachableError as error:
                self._say_failed(error)
                await asyncio.sleep(_RETRY_S)
                self._missing.set()

    def _say_failed(self, error: UnreachableError) -> None:
        withheld = self._repairs.due(self._clock.boottime_ns())
        if withheld is not None:
            _log.warning(
                "missing events are not to be had",
                action="repair.failed",
                why=str(error),
                withheld=withheld,
            )

    async def fetch(self) -> None:
        """Ask once for the events after the last that is applied. Raises UnreachableError."""
        incarnation = self._incarnations.current
        before, voice = incarnation.view.applied, incarnation.voice
        if before is None or voice is None:
            return
        missing = await self._link.since(heartbeat.Since(before.epoch, before.seq), voice)
        if incarnation is not self._incarnations.current:
            return  # asked by an instance that has ended
        self._tally.events_repaired += len(missing.payloads)
        progress = incarnation.view.caught_up(missing)
        if missing.payloads:
            _log.info(
                "fetched events that were missing",
                action="repair",
                after=before.seq,
                events=len(missing.payloads),
            )
        stuck = isinstance(progress, Behind) and incarnation.view.applied == before
        # Whoever sent us behind had events that the authority has not: the next lease decides.
        self.settle(Current() if stuck else progress)
