"""Read tokens, revocations, the fleet, and the ledger as it grows."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from rescind.core import lease, public_ids, token_format, verdict
from rescind.core.handles import Handle
from rescind.core.revocation import Event
from rescind.core.verdict import Reason
from rescind.errors import MalformedTokenError
from rescind.wire import events
from rescind_authority.errors import FieldError, InvalidRequestError, NotFoundError
from rescind_authority.ports.leases import Instance, LeaseStore
from rescind_authority.ports.ledger import Ledger, LedgerTip
from rescind_authority.ports.revocations import Revocations, StoredRevocation
from rescind_authority.ports.token_search import TokenFilter
from rescind_authority.ports.tokens import Snapshot, StoredToken, TokenRecords, TokenState
from rescind_authority.usecases.enforcement.acknowledgements import Acknowledgements
from rescind_authority.usecases.ledger.recent_events import RecentEvents
from rescind_authority.usecases.lookups.resolver import record_of, restricting_events
from rescind_authority.usecases.read_model.token_search import Count, TokenSearch

_US_PER_MS = 1000
_ENDED_US = 600 * 1_000_000


class State(StrEnum):
    """The state of a token. A revoked or suspended token keeps that state after its end."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    REVOKED = "revoked"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class SeenToken:
    """A token and its state, all from one snapshot.

    `restrictions` are the revocations that apply to it, in the ledger's order. `denied` is the
    reason why a verifier would deny any call at `at_us` (Postgres's clock). `scopes` are the
    granted scopes that no narrowing removes, and `removed` the scope patterns that narrowings
    remove.
    """

    token: StoredToken
    state: State
    restrictions: tuple[Event, ...]
    denied: Reason | None
    scopes: tuple[str, ...]
    removed: tuple[str, ...]
    as_of: int
    at_us: int


class Liveness(StrEnum):
    """The state of a sidecar."""

    LIVE = "live"
    SILENT = "silent"
    RELEASED = "released"
    EVICTED = "evicted"


@dataclass(frozen=True, slots=True)
class SeenInstance:
    """A sidecar, and how far behind the ledger its acknowledgement is (events).

    `lease_left_ms` is an upper bound: a lease starts before the authority receives its heartbeat.
    `overdue` is True for a live sidecar that has missed a heartbeat.
    """

    instance: Instance
    liveness: Liveness
    lag: int
    lease_left_ms: int
    overdue: bool


@dataclass(frozen=True, slots=True)
class FleetStatus:
    """The verifiers, and the ledger's end."""

    tip: LedgerTip
    instances: tuple[SeenInstance, ...]
    ended: int = 0
    """Number of instances that ended and are left out."""


class Inspector:
    """Read the state of the authority, and change nothing."""

    def __init__(
        self,
        *,
        records: TokenRecords,
        token_search: TokenSearch,
        revocations: Revocations,
        leases: LeaseStore,
        ledger: Ledger,
        recent: RecentEvents,
        acknowledgements: Acknowledgements,
        prefix: str,
    ) -> None:
        self._records = records
        self._token_search = token_search
        self._revocations = revocations
        self._leases = leases
        self._ledger = ledger
        self._recent = recent
        self._acknowledgements = acknowledgements
        self._prefix = prefix

    async def token(self, token_id: str) -> SeenToken:
        """Read one token. Raises NotFoundError."""
        # A text that is not an id is unknown, and needs no query.
        seen = await self.tokens_by_id([token_id]) if public_ids.is_id(token_id, "tok") else ()
        if not seen:
            raise NotFoundError("token", token_id)
        return seen[0]

    async def presented(self, text: str) -> SeenToken:
        """Read a token by the secret that a caller holds. Raises InvalidRequestError."""
        try:
            token_format.parse(text, prefix=self._prefix)
        except MalformedTokenError as error:
            raise InvalidRequestError(FieldError("token", str(error))) from None
        snapshot = await self._records.by_hash([token_format.digest(text)])
        if not snapshot.tokens:
            raise InvalidRequestError(FieldError("token", "no such token was issued here"))
        return _seen_token(snapshot.tokens[0], snapshot)

    async def tokens(
        self, token_filter: TokenFilter, *, before: str | None, limit: int
    ) -> tuple[tuple[SeenToken, ...], str | None]:
        """Return tokens, newest first, and the cursor to the others: None at the end.

        A page may be shorter than `limit`, or empty, although others follow.
        """
        found = await self._token_search.page(token_filter, before=before, limit=limit)
        seen = await self.tokens_by_id(found.token_ids)
        # Each is shown as it is now, which may be later than when it was found.
        return tuple(each for each in seen if token_filter.state in (None, each.state)), found.next

    async def count(self, token_filter: TokenFilter) -> Count:
        """Count tokens."""
        return await self._token_search.count(token_filter)

    async def tokens_by_id(self, token_ids: Sequence[str]) -> tuple[SeenToken, ...]:
        """Read some tokens, in this order.

        Ids that were never issued are left out.
        """
        if not token_ids:
            return ()
        snapshot = await self._records.by_id(token_ids)
        seen = {each.token.grant.token_id: _seen_token(each, snapshot) for each in snapshot.tokens}
        return tuple(seen[token_id] for token_id in token_ids if token_id in seen)

    async def revocation(self, revocation_id: str) -> StoredRevocation:
        """Read one revocation. Raises NotFoundError."""
        known = public_ids.is_id(revocation_id, "rev")
        found = await self._revocations.get(revocation_id) if known else None
        if found is None:
            raise NotFoundError("revocation", revocation_id)
        return found

    async def why_ended(self, seen: SeenToken) -> str | None:
        """Return the reason of the event that ended a token early; None if it is not known."""
        ended = seen.token.ended
        if ended is None or not ended.revocation_id:
            return None
        stored = await self._revocations.get(ended.revocation_id)
        return None if stored is None else stored.event.revocation.reason

    async def revocations(
        self, *, before_seq: int | None, limit: int
    ) -> tuple[StoredRevocation, ...]:
        """List revocations, newest first."""
        return await self._revocations.page(before_seq=before_seq, limit=limit)

    async def standing_revocations(
        self, handles: Sequence[Handle], *, before_seq: int | None, limit: int
    ) -> tuple[StoredRevocation, ...]:
        """List the revocations that apply until a lift, newest first.

        With `handles`, only those that name one of them are listed.
        """
        return await self._revocations.standing_revocations(
            handles, before_seq=before_seq, limit=limit
        )

    async def fleet(self, *, ended: bool = False) -> FleetStatus:
        """List the sidecars; with `ended`, list those that ended too.

        A sidecar has ended when it was released, or has sent no heartbeat for ten minutes and its
        whole lease.
        """
        instances = await self._leases.fleet()
        tip = await self._ledger.tip()
        seen = tuple(_seen_instance(self._with_acknowledgement(each), tip) for each in instances)
        listed = tuple(each for each in seen if ended or not _has_ended(each, tip))
        return FleetStatus(tip, listed, ended=len(seen) - len(listed))

    def _with_acknowledgement(self, instance: Instance) -> Instance:
        """Add the acknowledgement since the last heartbeat, if this process received one."""
        acknowledged = self._acknowledgements.latest(instance.instance)
        if acknowledged is None or acknowledged.applied.epoch != instance.epoch:
            return instance
        seq = acknowledged.applied.seq
        return replace(
            instance,
            acked_seq=max(instance.acked_seq, seq),
            applied_seq=max(instance.applied_seq or 0, seq),
        )

    async def follow(self, since: int | None) -> AsyncIterator[Event]:
        """Yield every event after a seq, or from now on.

        The events end when this process ends.
        """
        seq = (await self._ledger.tip()).position.seq if since is None else since
        while await self._recent.wait_beyond(seq):
            for payload in (await self._recent.read(seq)).payloads:
                event = events.decode(payload)
                yield event
                seq = event.seq


_STATES = {Reason.SUSPENDED: State.SUSPENDED, Reason.EXPIRED: State.EXPIRED}


def _seen_token(state: TokenState, snapshot: Snapshot) -> SeenToken:
    record, at_us = record_of(state, snapshot), snapshot.at_us
    denial = verdict.judge_state(record)
    denied = denial or verdict.timely(record, earliest_us=at_us, latest_us=at_us)
    if denial is not None:
        now = _STATES.get(denial.reason, State.REVOKED)
    elif at_us >= record.expires_at_us:
        now = State.EXPIRED
    else:
        now = State.ACTIVE
    return SeenToken(
        token=state.token,
        state=now,
        restrictions=restricting_events(state),
        denied=None if denied is None else denied.reason,
        scopes=tuple(sorted(record.scopes)),
        removed=record.removed,
        as_of=snapshot.as_of,
        at_us=at_us,
    )


def _seen_instance(instance: Instance, tip: LedgerTip) -> SeenInstance:
    silent_ms = (tip.at_us - instance.last_seen_us) // _US_PER_MS
    left_ms = tip.grant_term_ms - silent_ms
    if instance.released_at_us is not None:
        liveness, left_ms = Liveness.RELEASED, 0
    else:
        liveness = Liveness.LIVE if left_ms >= 0 else Liveness.SILENT
        if instance.evicted_at_us is not None:
            liveness = Liveness.EVICTED  # a lease that it had before goes on to its end
    lag = max(0, tip.position.seq - instance.acked_seq)
    overdue = liveness is Liveness.LIVE and lease.overdue(
        silent_ms, grant_term_ms=tip.grant_term_ms
    )
    return SeenInstance(instance, liveness, lag, max(0, left_ms), overdue)


def _has_ended(seen: SeenInstance, tip: LedgerTip) -> bool:
    silent_us = tip.at_us - seen.instance.last_seen_us
    long_silent = seen.liveness is Liveness.SILENT and silent_us >= _ENDED_US
    return seen.liveness is Liveness.RELEASED or long_silent
