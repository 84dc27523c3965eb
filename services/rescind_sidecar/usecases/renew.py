"""Renew the lease: beat, note when, and give the reply to the view."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog

from rescind.core import lease
from rescind.errors import UnreachableError
from rescind.wire import heartbeat
from rescind_runtime.seldom import Seldom
from rescind_sidecar.ports import Clock, Dice, Link, NotEnrolledError
from rescind_sidecar.usecases.clock_log import ClockLog
from rescind_sidecar.usecases.enrol import Enrol
from rescind_sidecar.usecases.follow import Follow
from rescind_sidecar.usecases.incarnations import Attempt, Incarnation, Incarnations
from rescind_sidecar.usecases.lease_log import LeaseLog
from rescind_sidecar.usecases.offer import Offers
from rescind_sidecar.usecases.tally import Tally
from rescind_sidecar.view.view import Diverged

_RETRY_S = 0.25
_NS_PER_S = 1_000_000_000
_UNPUSHED_S = 1.0
_SHORTEST_S = 0.1
_RESTRAINT = 20
_DOUBT_S = 60.0

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


@dataclass(frozen=True, slots=True)
class Identity:
    """What a sidecar tells of itself."""

    service: str
    host: str
    version: str
    posture: str


class Renew:
    """Hold a lease, for as long as the authority can be reached."""

    def __init__(
        self,
        *,
        identity: Identity,
        incarnations: Incarnations,
        enrol: Enrol,
        follow: Follow,
        offers: Offers,
        link: Link,
        clock: Clock,
        dice: Dice,
        tally: Tally,
        due: asyncio.Event,
        interval_s: float,
        pushes: Callable[[], bool],
    ) -> None:
        self._identity = identity
        self._incarnations = incarnations
        self._enrol = enrol
        self._follow = follow
        self._offers = offers
        self._link = link
        self._clock = clock
        self._dice = dice
        self._tally = tally
        self._due = due
        self._interval_s = interval_s
        self._pushes = pushes
        self._took_s = 0.0
        self._grant_term_ms: int | None = None
        self._lease_log = LeaseLog()
        self._clock_log = ClockLog()
        self._doubts = Seldom(_DOUBT_S)
        self._forgeries = 0
        self._leaving = False
        self._not_enrolled = False

    async def run(self) -> None:
        """Beat, for as long as the process lives: at the interval, and at once when it is due."""
        while True:
            self._due.clear()
            self._watch()  # also before: a lease that ran out meanwhile may be back after it
            answered = await self._beat()
            self._watch()
            self._doubt_edge_keys()
            if self._follow.trust_due.is_set():
                self._follow.trust_due.clear()
                await self._enrol.enrol(self._incarnations.current)
            pause_s = self._pause_s() if answered else self._retry_s()
            # Not wait_for: on 3.11 it swallows a cancellation that comes with the event.
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s * self._dice.jitter()):
                    await self._due.wait()

    def _retry_s(self) -> float:
        """Return how soon to try again; after a refusal not sooner than the next heartbeat.

        So a whole fleet whose credential has ended floods no authority.
        """
        return self._longest_s if self._not_enrolled else min(_RETRY_S, self._longest_s / 2)

    @property
    def _longest_s(self) -> float:
        """The longest pause: what is configured, but no more than the granted term allows."""
        if self._grant_term_ms is None:
            return self._interval_s
        # Never without a pause, whatever term an authority grants.
        longest_s = max(_SHORTEST_S, lease.longest_pause_s(self._grant_term_ms))
        return min(self._interval_s, longest_s)

    def _pause_s(self) -> float:
        if self._pushes():
            return self._longest_s
        # Revocations come with the heartbeat alone: come oftener, but not to an authority that
        # has the whole fleet at its HTTP endpoint and is slow for it.
        return min(self._longest_s, max(_UNPUSHED_S, _RESTRAINT * self._took_s))

    async def _beat(self) -> bool:
        incarnation = self._incarnations.current
        voice = incarnation.voice
        self._not_enrolled = False
        if voice is None:
            if not await self._enrol.enrol(incarnation):
                self._not_enrolled = self._enrol.refused
                return False
            self._due.set()  # enrolled: beat with the new voice at once
            return True
        # The clock before the bytes leave: a lease counts from here, never from the reply.
        attempt = incarnation.attempts.begin(
            self._dice.identity(),
            now_ns=self._clock.boottime_ns(),
            applied=incarnation.view.applied,
        )
        try:
            reply = await self._link.beat(self._message(incarnation, attempt), voice)
        except NotEnrolledError:
            return await self._enrol_again(incarnation)
        except UnreachableError as error:
            self._tally.heartbeats_lost += 1
            # Only at debug: lease.lost says it once, when it matters.
            _log.debug("no lease granted", action="heartbeat.lost", why=str(error))
            return False
        return self._take(reply, attempt, incarnation)

    def _take(
        self,
        reply: heartbeat.Reply | heartbeat.NoLease,
        attempt: Attempt,
        incarnation: Incarnation,
    ) -> bool:
        """Apply the answer to a heartbeat; return True if it was a lease."""
        received_ns = self._clock.boottime_ns()
        ours = (reply.instance, reply.nonce) == (incarnation.instance, attempt.nonce)
        if not ours or incarnation is not self._incarnations.current or self._leaving:
            return False
        if isinstance(reply, heartbeat.NoLease):
            self._refused(reply, incarnation)
            return False
        incarnation.attempts.answered(attempt)
        self._tally.heartbeats += 1
        self._follow.told(reply.trust_serial)
        self._grant_term_ms = reply.grant_term_ms
        self._took_s = (received_ns - attempt.since_ns) / _NS_PER_S
        self._follow.settle(
            incarnation.view.renewed(
                reply, carried=attempt.applied, sent_ns=attempt.since_ns, received_ns=received_ns
            )
        )
        self._offers.met(reply.position.epoch)
        if not attempt.fresh:
            self._due.set()  # the lease may be an old one already: ask for another at once
        return True

    def _refused(self, reply: heartbeat.NoLease, incarnation: Incarnation) -> None:
        """End an instance whose id another process has too: a copy of this one, with its memory.

        The authority found it out; or its row counts further than this process ever did. A late
        heartbeat of our own is refused as well, and its row is no further than that.
        """
        if reply.over:
            self._follow.settle(Diverged("its id is over: a copy of this process has it too"))
        elif reply.counter > incarnation.counter.last:
            self._follow.settle(Diverged("a copy of this process has sent more than it has"))

    def _watch(self) -> None:
        view, now_ns = self._incarnations.current.view, self._clock.boottime_ns()
        self._lease_log.saw(
            held=view.leased(now_ns),
            now_ns=now_ns,
            ends_ns=view.leases.ends_ns,
            applied=view.applied.seq if view.applied else None,
        )
        self._clock_log.saw(view.time, now_ns)

    def _doubt_edge_keys(self) -> None:
        """Fetch the edge keys again, once a minute at most, while tags come that none of them made.

        They are forgeries, most likely; or an authority mints with a key that another one, which
        enrolled us, had not got yet.
        """
        if self._tally.forgeries == self._forgeries:
            return
        self._forgeries = self._tally.forgeries
        if self._doubts.due(self._clock.boottime_ns()) is not None:
            self._follow.trust_due.set()

    async def _enrol_again(self, incarnation: Incarnation) -> bool:
        """See whether the authority's ledger is of another epoch; if so, this instance is over.

        The wish proves nothing, the signed answer to our own nonce does (design 4).
        """
        before = incarnation.epoch
        enrolled = await self._enrol.enrol(incarnation)
        self._not_enrolled = not enrolled and self._enrol.refused
        if enrolled and incarnation.epoch != before:
            self._follow.settle(Diverged(f"epoch {incarnation.epoch} in place of {before}"))
        return False

    def _message(self, incarnation: Incarnation, attempt: Attempt) -> heartbeat.Heartbeat:
        return heartbeat.Heartbeat(
            instance=incarnation.instance,
            nonce=attempt.nonce,
            counter=next(incarnation.counter),
            applied=incarnation.view.applied,
            service=self._identity.service,
            host=self._identity.host,
            version=self._identity.version,
            posture=self._identity.posture,
            trail=attempt.trail,
        )

    async def release(self) -> None:
        """Say that this instance answers no check any more. Only after its deadlines are zero."""
        # What is answered to a heartbeat from here on must not begin another instance.
        self._leaving = True
        incarnation = self._incarnations.current
        if incarnation.voice is None:
            return  # never enrolled: there is nothing to give up
        message = heartbeat.Release(
            incarnation.instance, next(incarnation.counter), incarnation.attempts.trail
        )
        try:
            await self._link.release(message, incarnation.voice)
        except UnreachableError as error:
            _log.info("not released; the lease lapses", action="release.lost", why=str(error))
