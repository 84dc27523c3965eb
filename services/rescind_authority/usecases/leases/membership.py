"""Check membership: an instance needs a valid credential, and must match its enrolment.

Every heartbeat and every request for events is checked again, in a snapshot from after it arrived.
So an instance whose credential was revoked, suspended or has expired, and an evicted instance, get
no lease and no events from then on. A lease that was requested before continues until its own end,
and receipts wait for that (Theorem 1): an instance that was accepted had sent its request before
the end was committed.
"""

from collections.abc import Mapping, Sequence

import structlog

from rescind.core import posture, verdict
from rescind.core.posture import Posture
from rescind.core.record import Record
from rescind.core.well_known_scopes import AUDIENCE, VERIFY
from rescind.errors import PostureError, RescindError
from rescind.wire.heartbeat import Heartbeat
from rescind_authority.errors import NotEnrolledError, NotFoundError
from rescind_authority.ports.clock import Clock
from rescind_authority.ports.enrolments import EnrolledInstance, Enrolment, Enrolments, Evicted
from rescind_authority.ports.tokens import TokenRecords
from rescind_authority.usecases.access.authoriser import Actor, Scope, find_denial
from rescind_authority.usecases.ledger.batcher import Batcher
from rescind_authority.usecases.lookups.resolver import record_of
from rescind_authority.usecases.validation import FieldErrors
from rescind_runtime.log_throttle import LogThrottle

_MAX_BATCH = 500
_CAPACITY = 16_384

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


class Membership:
    """Decide in batches which instances are members, and which have to enrol (again)."""

    def __init__(self, enrolments: Enrolments, *, records: TokenRecords, clock: Clock) -> None:
        self._enrolments = enrolments
        self._records = records
        self._clock = clock
        self._batcher = Batcher[bytes, Enrolment](
            self._check_batch, most=_MAX_BATCH, capacity=_CAPACITY, what="messages of sidecars"
        )
        self._ended_throttle = LogThrottle()

    async def run(self) -> None:
        """Check instances in batches, until cancelled."""
        await self._batcher.run()

    async def require(self, instance: bytes) -> Enrolment:
        """Return the enrolment of an instance. Raises NotEnrolledError if it is not a member."""
        return await self._batcher.submit(instance)

    async def verify_heartbeat(self, heartbeat: Heartbeat) -> None:
        """Raise NotEnrolledError unless a heartbeat is from a member and matches its enrolment.

        An instance that contradicts its enrolment is evicted, because it would only be refused
        again.
        """
        enrolment = await self.require(heartbeat.instance)
        why = contradiction(enrolment, service=heartbeat.service, declared=heartbeat.posture)
        if why is None:
            return
        await self._enrolments.evict(heartbeat.instance, why=why, actor=None)
        _log.error(
            "a sidecar contradicts its enrolment, and is evicted",
            action="sidecar.evicted",
            instance=heartbeat.instance.hex(),
            service=enrolment.service,
            credential=enrolment.credential,
            why=why,
        )
        raise NotEnrolledError

    async def evict(self, instance: bytes, *, reason: str, actor: Actor) -> Evicted:
        """End an instance for ever: it gets no lease, and cannot enrol under any credential.

        Raises InvalidRequestError, ForbiddenError, NotFoundError, or the store's errors.
        """
        field_errors = FieldErrors()
        reason = field_errors.reason(reason)
        field_errors.raise_if_any()
        actor.require(Scope.REVOKE, "evicting")
        why = f"by {actor.name}" + (f": {reason}" if reason else "")
        evicted = await self._enrolments.evict(instance, why=why, actor=actor.name)
        if evicted is None:
            raise NotFoundError("sidecar", instance.hex())
        _log.warning(
            "a sidecar was evicted",
            action="sidecar.evicted",
            instance=instance.hex(),
            service=evicted.service,
            actor=actor.name,
            why=reason,
        )
        return evicted

    async def _check_batch(self, instances: Sequence[bytes]) -> Sequence[Enrolment | RescindError]:
        # The enrolments first: they determine which credentials the second read is about.
        members = await self._enrolments.read(frozenset(instances))
        credentials = {each.enrolment.credential for each in members.values()} - {""}
        problems = await self._credential_problems(credentials)
        return [self._decide(members.get(instance), problems) for instance in instances]

    async def _credential_problems(self, credentials: set[str]) -> Mapping[str, str | None]:
        """Return for each known credential why it is not valid any more, or None if it is valid."""
        if not credentials:
            return {}
        snapshot = await self._records.by_id(sorted(credentials))
        return {
            state.token.grant.token_id: refusal(record_of(state, snapshot), snapshot.at_us)
            for state in snapshot.tokens
        }

    def _decide(
        self, member: EnrolledInstance | None, problems: Mapping[str, str | None]
    ) -> Enrolment | RescindError:
        if member is None or member.silent or member.evicted is not None:
            return NotEnrolledError()
        enrolment = member.enrolment
        why = problems.get(enrolment.credential, "it is not known here")
        if why is None:
            return enrolment
        withheld = self._ended_throttle.due(self._clock.monotonic_raw_ns())
        if withheld is not None:
            _log.warning(
                "a sidecar's credential is not valid any more: it gets no lease and no events",
                action="sidecar.ended",
                instance=enrolment.instance.hex(),
                service=enrolment.service,
                credential=enrolment.credential,
                why=why,
                withheld=withheld,
            )
        return NotEnrolledError()


def refusal(record: Record, at_us: int) -> str | None:
    """Return why a token cannot enrol or keep a sidecar at this time, or None."""
    denied = find_denial(record, at_us) or verdict.permitted(
        record, require=(VERIFY,), audience=AUDIENCE
    )
    return None if denied is None else str(denied.reason)


def contradiction(enrolment: Enrolment, *, service: str, declared: str | None) -> str | None:
    """Return how an instance differs from its enrolment, or None.

    A posture that cannot be parsed may be newer than this authority: it counts as the longest
    grace.
    """
    if service != enrolment.service:
        return f"it enrolled for {enrolment.service!r} and reports the service {service[:80]!r}"
    if declared is None or enrolment.posture is None or _within(declared, enrolment.posture):
        return None
    return (
        f"its posture {declared[:80]!r} is more lenient than its credential allows "
        f"({enrolment.posture}). Make another one: `rescind sidecar enrol --posture …`"
    )


def _within(declared: str, allowed: str) -> bool:
    try:
        graces, limit = Posture.parse(declared), Posture.parse(allowed)
    except PostureError:
        return False
    return posture.is_within_limit(graces, limit=limit)
