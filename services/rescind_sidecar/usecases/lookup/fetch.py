"""A fetch of a record that is not in memory, from Redis or else from the authority.

For either source, the view decides whether the record is this token's, of this epoch, and still
valid at the position that is applied here. The answer that a token does not exist is accepted from
the authority alone, under the MAC of this instance, and not as of an older position; else the
answer is `unavailable`.
"""

import asyncio

from rescind.core import instance_mac, token_format
from rescind.core.token_format import TokenHash
from rescind.core.verdict import Denied, Reason
from rescind.errors import MalformedMessageError, UnreachableError
from rescind.wire import signed_envelope
from rescind.wire.lookups import LookupRequest, PossessionProof
from rescind.wire.trust_statement import Purpose
from rescind_sidecar.ports import (
    AuthorityLink,
    BootClock,
    InstanceCredentials,
    RandomSource,
    SharedRecordReader,
    TrustStore,
)
from rescind_sidecar.stats.counters import Counters
from rescind_sidecar.usecases.instance import SidecarInstance, SidecarInstances
from rescind_sidecar.usecases.lookup.lookup_budgets import LookupBudgets, LookupSource
from rescind_sidecar.view.record_cache import CachedRecord
from rescind_sidecar.view.view import RefusedMessage, Stale

UNKNOWN = Denied(Reason.UNKNOWN)
UNAVAILABLE = Denied(Reason.UNAVAILABLE)
EXPIRED = Denied(Reason.EXPIRED)

_MAX_FLIGHTS = 4_096


class Fetch:
    """Fetch records into the view. `shared` is None without Redis.

    At most 4,096 look-ups are under way, and each source has its budget. Any
    other look-up is answered `unavailable` at once.
    """

    def __init__(
        self,
        instances: SidecarInstances,
        link: AuthorityLink,
        trust_store: TrustStore,
        clock: BootClock,
        tally: Counters,
        *,
        random_source: RandomSource,
        budgets: LookupBudgets,
        shared: SharedRecordReader | None,
    ) -> None:
        self._instances = instances
        self._link = link
        self._trust_store = trust_store
        self._clock = clock
        self._random = random_source
        self._tally = tally
        self._budgets = budgets
        self._shared = shared
        self._flights: dict[bytes, asyncio.Future[Denied | None]] = {}

    async def record(
        self, text: str | TokenHash, *, source: LookupSource, past_redis: bool
    ) -> Denied | None:
        """Make one look-up for all callers with the same token; None: look in memory again.

        A caller can safely join a look-up that is under way: its record is checked against the
        events applied when it arrives, not when it was requested (design 6.4).
        """
        token_hash = token_format.digest(text)
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
            is_filled = not past_redis and await self._fetch_from_redis(token_hash)
            denial = None if is_filled else await self._fetch_from_authority(text, token_hash)
            flight.set_result(denial)
        finally:
            del self._flights[token_hash]
            self._budgets.end(source)
            flight.cancel()  # if this caller was cancelled, the others make their own look-up
        return denial

    def _may_start(self, source: LookupSource) -> bool:
        return len(self._flights) < _MAX_FLIGHTS and self._budgets.begin(
            source, self._clock.boottime_ns()
        )

    async def _fetch_from_redis(self, token_hash: bytes) -> bool:
        applied = self._instances.current.view.applied
        if self._shared is None or applied is None:
            return False
        payload = await self._shared.find(applied.epoch, token_hash)
        if payload is None:
            self._tally.redis_absent += 1
            return False
        # If anything is wrong with the record, the authority is asked next, never Redis again.
        match self._verify_and_fill(token_hash, payload):
            case CachedRecord() as cached if self._has_expired(cached):
                # Redis keeps a record slightly longer than it counts as good here. And when a
                # secret is presented after its end, the authority must receive the look-up.
                self._tally.redis_stale += 1
                return False
            case CachedRecord():
                self._tally.looks_at_redis += 1
                return True
            case Stale():
                self._tally.redis_stale += 1
                return False
            case RefusedMessage():
                self._tally.redis_refused += 1
                return False

    def _has_expired(self, cached: CachedRecord) -> bool:
        view = self._instances.current.view
        return view.judge(cached, self._clock.boottime_ns()) == EXPIRED

    def _verify_and_fill(
        self, token_hash: bytes, payload: bytes
    ) -> CachedRecord | Stale | RefusedMessage:
        """Verify a record's signature before it is decoded: Redis and NATS are not trusted."""
        try:
            if not self._trust_store.verify(Purpose.RECORDS, signed_envelope.decode(payload)):
                return RefusedMessage("a record without a valid signature of the authority")
        except MalformedMessageError as error:
            return RefusedMessage(str(error))
        return self._instances.current.view.fill(token_hash, payload)

    async def _fetch_from_authority(
        self, text: str | TokenHash, token_hash: bytes
    ) -> Denied | None:
        self._tally.looks_at_authority += 1
        began_ns = self._clock.boottime_ns()
        current = self._instances.current
        applied, credentials = current.view.applied, current.credentials
        if applied is None or credentials is None:  # not enrolled: no authority would answer
            self._tally.looks_unanswered += 1
            return UNAVAILABLE
        request = self._build_request(text, token_hash, current, credentials)
        try:
            answer = await self._link.look_up(request, credentials)
            self._tally.looks_s.observe((self._clock.boottime_ns() - began_ns) / 1e9)
        except UnreachableError:
            self._tally.looks_unanswered += 1
            return UNAVAILABLE
        if answer.record is None:
            older = (answer.epoch, answer.as_of) < (applied.epoch, applied.seq)
            if older or current is not self._instances.current:
                return None  # the answer is older than this view, or for an ended instance: retry
            current.negative_cache.add(token_hash, self._clock.boottime_ns())
            return UNKNOWN
        match self._verify_and_fill(token_hash, answer.record):
            case CachedRecord() | Stale():
                return None
            case RefusedMessage():
                self._tally.messages_refused += 1
                return UNAVAILABLE

    def _build_request(
        self,
        text: str | TokenHash,
        token_hash: bytes,
        current: SidecarInstance,
        credentials: InstanceCredentials,
    ) -> LookupRequest:
        """Return a look-up of a token, with a proof that the token is presented now, if it is."""
        view, nonce = current.view, self._random.identity()
        if view.applied is None or view.time is None or isinstance(text, TokenHash):
            return LookupRequest(token_hash, nonce)
        return LookupRequest(
            token_hash,
            nonce,
            PossessionProof(
                seq=view.applied.seq,
                at_us=max(0, view.time.earliest_us(self._clock.boottime_ns())),
                proof=instance_mac.mask(credentials.secret, nonce, token_format.possession(text)),
            ),
        )
