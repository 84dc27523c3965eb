"""Fetch a record that memory does not have: from Redis if it is there, else from the authority.

Whatever brings it, the view decides whether it is this token's, of this epoch, and still good at
the position that is applied here.
"""

import asyncio

from rescind.core.verdict import Denied, Reason
from rescind.errors import MalformedMessageError, UnreachableError
from rescind.wire import records, sealed
from rescind.wire.trust import Purpose
from rescind_sidecar.ports import Clock, Link, Notary, SharedRecords
from rescind_sidecar.usecases.budget import Budget, Source
from rescind_sidecar.usecases.incarnations import Incarnations
from rescind_sidecar.usecases.tally import Tally
from rescind_sidecar.view.records import Held
from rescind_sidecar.view.view import Refused, Stale

UNKNOWN = Denied(Reason.UNKNOWN)
UNAVAILABLE = Denied(Reason.UNAVAILABLE)
EXPIRED = Denied(Reason.EXPIRED)

_MOST_FLIGHTS = 4_096


class Fetch:
    """Bring records into the view. `shared` is None where there is no second level.

    At most 4,096 look-ups are under way, and of each source what its budget allows; one more is
    answered `unavailable` at once.
    """

    def __init__(
        self,
        incarnations: Incarnations,
        link: Link,
        notary: Notary,
        clock: Clock,
        tally: Tally,
        *,
        budget: Budget,
        shared: SharedRecords | None,
    ) -> None:
        self._incarnations = incarnations
        self._link = link
        self._notary = notary
        self._clock = clock
        self._tally = tally
        self._budget = budget
        self._shared = shared
        self._flights: dict[bytes, asyncio.Future[Denied | None]] = {}

    async def record(self, token_hash: bytes, *, source: Source, past_redis: bool) -> Denied | None:
        """Make one look-up for all who ask for the same token now. None: look in memory again.

        To join one that is under way is safe here: what it brings is held against the events
        applied by the time it comes, not by the time it was asked (design 6.4).
        """
        flight = self._flights.get(token_hash)
        if flight is not None:
            await asyncio.wait([flight])
            return None if flight.cancelled() else flight.result()
        if not self._may_start(source):
            self._tally.looks_over_budget += 1
            return UNAVAILABLE
        flight = asyncio.get_running_loop().create_future()
        self._flights[token_hash] = flight
        try:
            found = not past_redis and await self._from_redis(token_hash)
            denied = None if found else await self._from_authority(token_hash)
            flight.set_result(denied)
        finally:
            del self._flights[token_hash]
            self._budget.end(source)
            flight.cancel()  # if this caller was cancelled, the others look for themselves
        return denied

    def _may_start(self, source: Source) -> bool:
        return len(self._flights) < _MOST_FLIGHTS and self._budget.begin(
            source, self._clock.boottime_ns()
        )

    async def _from_redis(self, token_hash: bytes) -> bool:
        applied = self._incarnations.current.view.applied
        if self._shared is None or applied is None:
            return False
        payload = await self._shared.find(applied.epoch, token_hash)
        if payload is None:
            self._tally.redis_absent += 1
            return False
        # Whatever is wrong with it: the authority is asked next, never Redis again.
        match self._checked_fill(token_hash, payload):
            case Held() as held if self._ended(held):
                # Redis keeps it for a moment longer than we take it to be good; and of a secret
                # that comes after its end the authority wants to know, not Redis.
                self._tally.redis_stale += 1
                return False
            case Held():
                self._tally.looks_at_redis += 1
                return True
            case Stale():
                self._tally.redis_stale += 1
                return False
            case Refused():
                self._tally.redis_refused += 1
                return False

    def _ended(self, held: Held) -> bool:
        view = self._incarnations.current.view
        return view.judge(held, self._clock.boottime_ns()) == EXPIRED

    def _checked_fill(self, token_hash: bytes, payload: bytes) -> Held | Stale | Refused:
        """Check a record's signature before it is decoded: Redis and NATS are anybody's."""
        try:
            if not self._notary.verify(Purpose.RECORDS, sealed.decode(payload)):
                return Refused("a record that no key of ours signed")
        except MalformedMessageError as error:
            return Refused(str(error))
        return self._incarnations.current.view.fill(token_hash, payload)

    async def _from_authority(self, token_hash: bytes) -> Denied | None:
        self._tally.looks_at_authority += 1
        began_ns = self._clock.boottime_ns()
        try:
            resolved = await self._link.resolve(records.Resolve(token_hash))
            self._tally.looks_s.observe((self._clock.boottime_ns() - began_ns) / 1e9)
        except UnreachableError:
            self._tally.looks_unanswered += 1
            return UNAVAILABLE
        incarnation = self._incarnations.current
        if resolved.record is None:
            incarnation.unknowns.add(token_hash, self._clock.boottime_ns())
            return UNKNOWN
        match self._checked_fill(token_hash, resolved.record):
            case Held() | Stale():
                return None
            case Refused():
                self._tally.messages_refused += 1
                return UNAVAILABLE
