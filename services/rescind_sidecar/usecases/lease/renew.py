"""The renewal of the lease: send heartbeats, note their times, and apply the replies."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog

from rescind.core import lease
from rescind.core.times import NS_PER_S
from rescind.errors import UnreachableError
from rescind.wire import heartbeat
from rescind_runtime.log_throttle import LogThrottle
from rescind_sidecar.ports import (
    AuthorityLink,
    BootClock,
    RandomSource,
    TrustStore,
    UnknownInstanceError,
)
from rescind_sidecar.stats.counters import Counters
from rescind_sidecar.usecases.instance import Attempt, SidecarInstance, SidecarInstances
from rescind_sidecar.usecases.lease.clock_log import ClockLog
from rescind_sidecar.usecases.lease.enrol import Enrol
from rescind_sidecar.usecases.lease.lease_log import LeaseLog
from rescind_sidecar.usecases.ledger.follow import LedgerFollower
from rescind_sidecar.usecases.ledger.recovery_offers import RecoveryOffers
from rescind_sidecar.view.view import Diverged

_RETRY_S = 0.25
_PAUSE_WITHOUT_PUSHES_S = 1.0
_SHORTEST_PAUSE_S = 0.1
_PAUSE_FACTOR = 20  # without pushes, a pause lasts at least this many times the last round trip
_REFRESH_S = 60.0

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


@dataclass(frozen=True, slots=True)
class Identity:
    """The facts about a sidecar in its heartbeats."""

    service: str
    host: str
    version: str
    posture: str


class Renew:
    """Renew the lease for as long as the authority can be reached."""

    def __init__(
        self,
        *,
        identity: Identity,
        instances: SidecarInstances,
        enrol: Enrol,
        follow: LedgerFollower,
        offers: RecoveryOffers,
        link: AuthorityLink,
        trust_store: TrustStore,
        clock: BootClock,
        random_source: RandomSource,
        tally: Counters,
        due: asyncio.Event,
        interval_s: float,
        pushes: Callable[[], bool],
    ) -> None:
        self._identity = identity
        self._instances = instances
        self._enrol = enrol
        self._follow = follow
        self._offers = offers
        self._link = link
        self._trust_store = trust_store
        self._clock = clock
        self._random = random_source
        self._tally = tally
        self._due = due
        self._interval_s = interval_s
        self._pushes = pushes
        self._round_trip_s = 0.0
        self._grant_term_ms: int | None = None
        self._lease_log = LeaseLog()
        self._clock_log = ClockLog()
        self._refresh_throttle = LogThrottle(_REFRESH_S)
        self._forgeries = 0
        self._released = False
        self._not_enrolled = False
        self._retirements = 0
        self._distrust: str | None = None

    async def run(self) -> None:
        """Send heartbeats until cancelled: at the interval, and at once when one is due."""
        while True:
            self._due.clear()
            self._log_state()  # also before the heartbeat, which may bring a lost lease back
            answered = await self._beat()
            self._restart_after_retirement()
            self._log_state()
            self._refresh_edge_keys()
            # An instance that is not enrolled yet enrols at the next heartbeat.
            if self._follow.trust_due.is_set() and self._instances.current.credentials is not None:
                self._follow.trust_due.clear()
                if not await self._enrol.enrol(self._instances.current):
                    # The statement or the keys are still missing: try at the next heartbeat.
                    self._follow.trust_due.set()
                self._restart_after_retirement()
            pause_s = self._pause_s() if answered else self._retry_s()
            # Not wait_for: on 3.11 it swallows a cancellation that arrives with the event.
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s * self._random.jitter()):
                    await self._due.wait()

    def _retry_s(self) -> float:
        """Return the pause before the next attempt; after a refusal, the longest pause.

        So a whole fleet whose credential has ended does not flood the authority.
        """
        return (
            self._longest_pause_s
            if self._not_enrolled
            else min(_RETRY_S, self._longest_pause_s / 2)
        )

    @property
    def _longest_pause_s(self) -> float:
        """Return the longest pause: the configured interval, or less if the term is short."""
        if self._grant_term_ms is None:
            return self._interval_s
        # The lower bound keeps a pause, whatever term an authority grants.
        longest_pause_s = max(_SHORTEST_PAUSE_S, lease.longest_pause_s(self._grant_term_ms))
        return min(self._interval_s, longest_pause_s)

    def _pause_s(self) -> float:
        if self._pushes():
            return self._longest_pause_s
        # Revocations arrive only with heartbeats now, so these are more frequent. But they are
        # less frequent if the authority is slow because the whole fleet uses its HTTP endpoint.
        return min(
            self._longest_pause_s, max(_PAUSE_WITHOUT_PUSHES_S, _PAUSE_FACTOR * self._round_trip_s)
        )

    async def _beat(self) -> bool:
        current = self._instances.current
        credentials = current.credentials
        self._not_enrolled = False
        if credentials is None:
            if not await self._enrol.enrol(current):
                self._not_enrolled = self._enrol.refused
                return False
            self._due.set()  # enrolled: send a heartbeat with the new credentials at once
            return True
        # The clock is read before the bytes leave: a lease counts from here, not from the reply.
        attempt = current.attempts.begin(
            self._random.identity(),
            now_ns=self._clock.boottime_ns(),
            applied=current.view.applied,
        )
        try:
            reply = await self._link.beat(self._build_heartbeat(current, attempt), credentials)
        except UnknownInstanceError:
            return await self._enrol_again(current)
        except UnreachableError as error:
            self._tally.heartbeats_lost += 1
            # Only at debug: `lease.lost` is logged once, when the lease has run out.
            _log.debug("no lease granted", action="heartbeat.lost", why=str(error))
            return False
        return self._apply_answer(reply, attempt, current)

    def _apply_answer(
        self,
        reply: heartbeat.Reply | heartbeat.NoLease,
        attempt: Attempt,
        current: SidecarInstance,
    ) -> bool:
        """Apply the answer to a heartbeat; return True if it was a lease."""
        received_ns = self._clock.boottime_ns()
        ours = (reply.instance, reply.nonce) == (current.instance, attempt.nonce)
        if not ours or current is not self._instances.current or self._released:
            return False
        if isinstance(reply, heartbeat.NoLease):
            self._apply_refusal(reply, current)
            return False
        current.attempts.answered(attempt)
        current.refused = None
        self._tally.heartbeats += 1
        self._follow.note_trust(reply.trust_serial, enrol_again=reply.enrol_again)
        if reply.statement and self._trust_store.accept(reply.statement):
            self._follow.trust_due.set()
        if self._has_statement_ended():
            self._not_enrolled = True  # so that the next attempt is not sooner than a heartbeat
            return False
        self._grant_term_ms = reply.grant_term_ms
        self._round_trip_s = (received_ns - attempt.since_ns) / NS_PER_S
        self._follow.act_on(
            current.view.accept_lease(
                reply, carried=attempt.applied, sent_ns=attempt.since_ns, received_ns=received_ns
            )
        )
        self._offers.note_epoch(reply.position.epoch)
        if not attempt.fresh:
            self._due.set()  # the lease may be old already: request another at once
        return True

    def _apply_refusal(self, reply: heartbeat.NoLease, current: SidecarInstance) -> None:
        """End the instance if a copy of this process, with its memory, uses the same id.

        Either the authority ended the id, or the counter in its row is higher than any that this
        process sent. A late heartbeat of our own is refused as well, but then the counter is not
        higher.
        """
        if reply.over:
            self._follow.act_on(
                Diverged(
                    "the instance id has ended: a copy of this process uses the id too, or the "
                    "authority received no message of this instance for an hour"
                )
            )
        elif reply.counter > current.counter.last:
            self._follow.act_on(
                Diverged("a copy of this process has sent messages under the same instance id")
            )

    def _has_statement_ended(self) -> bool:
        """Return True, and log it once, if the trust statement has ended.

        Then no lease is adopted, because a thief of the keys in the statement may have sent it. The
        last lease ends by its term.
        """
        problem = self._trust_store.problem()
        if problem is not None and self._distrust is None:
            _log.error("no lease is accepted", action="trust.ended", why=problem)
        self._distrust = problem
        return problem is not None

    def _restart_after_retirement(self) -> None:
        """Begin a new instance after the retirement of a key that vouches for content in memory."""
        if self._released or self._retirements == self._trust_store.retirements:
            return
        self._retirements = self._trust_store.retirements
        self._follow.act_on(Diverged("a key that vouched for the records in memory was retired"))

    def _log_state(self) -> None:
        view, now_ns = self._instances.current.view, self._clock.boottime_ns()
        self._lease_log.observe(
            leased=view.leased(now_ns),
            now_ns=now_ns,
            ends_ns=view.leases.ends_ns,
            applied=view.applied.seq if view.applied else None,
        )
        self._clock_log.observe(view.time, now_ns)

    def _refresh_edge_keys(self) -> None:
        """Fetch the edge keys again, at most once a minute, while tags match none of them.

        Most likely the tokens are forgeries. But another authority may mint with a newer key, which
        was not in the answer to the enrolment.
        """
        if self._tally.forgeries == self._forgeries:
            return
        self._forgeries = self._tally.forgeries
        if self._refresh_throttle.due(self._clock.boottime_ns()) is not None:
            self._follow.trust_due.set()

    async def _enrol_again(self, current: SidecarInstance) -> bool:
        """Enrol again, and end this instance if the authority's ledger is of another epoch.

        The authority's request to enrol proves nothing; the signed answer to our own nonce does
        (design 4).
        """
        before = current.epoch
        enrolled = await self._enrol.enrol(current)
        self._not_enrolled = not enrolled and self._enrol.refused
        if enrolled and current.epoch != before:
            self._follow.act_on(Diverged(f"epoch {current.epoch} in place of {before}"))
        return False

    def _build_heartbeat(self, current: SidecarInstance, attempt: Attempt) -> heartbeat.Heartbeat:
        return heartbeat.Heartbeat(
            instance=current.instance,
            nonce=attempt.nonce,
            counter=next(current.counter),
            applied=current.view.applied,
            service=self._identity.service,
            host=self._identity.host,
            version=self._identity.version,
            posture=self._identity.posture,
            trail=attempt.trail,
            trust_serial=self._trust_store.serial,
        )

    async def release(self) -> None:
        """Report that this instance answers no more checks. Its deadlines must be zero before."""
        # From here on, an answer to a heartbeat must not begin another instance.
        self._released = True
        current = self._instances.current
        if current.credentials is None:
            return  # never enrolled: there is nothing to give up
        message = heartbeat.Release(current.instance, next(current.counter), current.attempts.trail)
        try:
            await self._link.release(message, current.credentials)
        except UnreachableError as error:
            _log.info("not released; the lease lapses", action="release.lost", why=str(error))
