"""Read tokens by hash, in batches (design 5).

One statement answers all look-ups that queued up.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial

from rescind.core import token_format
from rescind.core.handles import Handle
from rescind.core.record import Record
from rescind.core.revocation import ENDED, NOT_RESTRICTING, Effect, Event, Restriction, hits
from rescind.wire import records
from rescind.wire.lookups import LookupAnswer
from rescind.wire.trust_statement import Purpose
from rescind_authority.ports.clock import Clock
from rescind_authority.ports.keys import Keys
from rescind_authority.ports.metrics import Metrics
from rescind_authority.ports.tokens import (
    Candidate,
    SharedRecordWriter,
    Snapshot,
    StoredToken,
    TokenRecords,
    TokenState,
)
from rescind_authority.usecases.ledger.batcher import Batcher
from rescind_authority.usecases.lookups.reuse_detection import PresentedToken

_MAX_BATCH = 512
_CAPACITY = 16_384


@dataclass(frozen=True, slots=True)
class LookupResult:
    """The result for a hash in a snapshot: nothing, or a token and its record."""

    snapshot: Snapshot
    token: StoredToken | None = None
    record: Record | None = None


class Resolver:
    """Read the records of tokens, each from the facts of a single snapshot.

    The record of a sidecar's look-up is also stored in `shared`, if there is one, for other
    sidecars. Records enter `shared` in no other way: an issuer knows its token without the
    revocations that apply to it (such as a suspend of its subject), and must not store it there as
    if it were live. `watch` is called for each token that was presented, and not for a look-up by
    hash alone.
    """

    def __init__(
        self,
        store: TokenRecords,
        *,
        keys: Keys,
        clock: Clock,
        metrics: Metrics,
        watch: Callable[[StoredToken, PresentedToken], None],
        shared: SharedRecordWriter | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._watch = watch
        self._keys = keys
        self._shared = shared
        self._metrics = metrics
        self._batcher = Batcher[bytes, LookupResult](
            self._read, most=_MAX_BATCH, capacity=_CAPACITY, what="look-ups"
        )

    async def run(self) -> None:
        """Process look-ups in batches, until cancelled."""
        await self._batcher.run()

    async def read(self, token_hash: bytes) -> LookupResult:
        """Read a token by the hash of a secret that it has, or had."""
        return await self._batcher.submit(token_hash)

    def encode_answer(self, found: LookupResult, presented: PresentedToken | None) -> LookupAnswer:
        """Return the answer to a look-up.

        An expired token is found too: the verifier reports `expired`.
        """
        snapshot, record = found.snapshot, found.record
        if found.token is not None and presented is not None:
            # A sidecar's clock may be ahead: use the earlier of the two times.
            at_us = min(presented.at_us, snapshot.at_us)
            self._watch(found.token, replace(presented, at_us=at_us))
        if record is None:
            return LookupAnswer(snapshot.epoch, snapshot.as_of, None)
        encoded = records.encode(record, partial(self._keys.sign, Purpose.RECORDS))
        if self._shared is not None:
            self._shared.keep(record, encoded, now_us=snapshot.at_us)
        return LookupAnswer(snapshot.epoch, snapshot.as_of, encoded)

    async def read_presented(self, text: str) -> LookupResult:
        """Read a token that its bearer presents, which counts as a use of its secret."""
        found = await self._batcher.submit(token_format.digest(text))
        snapshot = found.snapshot
        if found.token is not None:
            shown = PresentedToken(token_format.possession(text), snapshot.as_of, snapshot.at_us)
            self._watch(found.token, shown)
        return found

    async def _read(self, hashes: Sequence[bytes]) -> Sequence[LookupResult]:
        began_ns = self._clock.monotonic_raw_ns()
        snapshot = await self._store.by_hash(frozenset(hashes))
        seconds = (self._clock.monotonic_raw_ns() - began_ns) / 1e9
        found = {
            state.token.token_hash: LookupResult(snapshot, state.token, record_of(state, snapshot))
            for state in snapshot.tokens
        }
        known = sum(token_hash in found for token_hash in hashes)
        self._metrics.resolves(found=known, unknown=len(hashes) - known, seconds=seconds)
        nothing = LookupResult(snapshot)
        return [found.get(token_hash, nothing) for token_hash in hashes]


def record_of(state: TokenState, snapshot: Snapshot) -> Record:
    """Return the record of a token from the facts of one snapshot."""
    token, grant = state.token, state.token.grant
    return Record(
        token_hash=token.token_hash,
        epoch=snapshot.epoch,
        as_of=snapshot.as_of,
        token_id=grant.token_id,
        kind=grant.kind,
        subject=grant.subject,
        granted=frozenset(grant.scopes),
        audience=frozenset(grant.audience),
        issued_at_us=token.issued_at_us,
        issued_seq=token.issued_seq,
        not_before_us=grant.not_before_us or 0,
        expires_at_us=token.expires_at_us,
        handles=grant.handles,
        restrictions=restrictions_of(state),
        tenant=grant.tenant,
        client=grant.client,
        session=grant.session,
        labels=grant.labels,
        lineage=grant.lineage,
        chain=grant.chain,
        removed=removed_of(state),
        conditions=grant.conditions,
    )


def removed_of(state: TokenState) -> tuple[str, ...]:
    """Return the scope patterns that narrowings remove from a token.

    The patterns of all narrowings that apply to the token are joined.
    """
    narrowings = (
        event.revocation
        for event in restricting_events(state)
        if event.revocation.effect == Effect.NARROW
    )
    return tuple(sorted({pattern for narrowing in narrowings for pattern in narrowing.scopes}))


def restrictions_of(state: TokenState) -> tuple[Restriction, ...]:
    """Return the restrictions of a token's record: its early end, then revocations.

    The end takes effect at its seq. So a clock that is set back does not revive the token.
    """
    ended = state.token.ended
    return (
        *(() if ended is None else (Restriction(ended.revocation_id, ENDED, ended.seq),)),
        *(
            Restriction(event.revocation.revocation_id, event.revocation.effect, event.seq)
            for event in restricting_events(state)
        ),
    )


def restricting_events(state: TokenState) -> tuple[Event, ...]:
    """Return the revocations that apply to a token, in the ledger's order."""
    token = state.token
    return hitting(state.candidates, handles=token.grant.handles, issued_seq=token.issued_seq)


def hitting(
    candidates: Sequence[Candidate], *, handles: Collection[Handle], issued_seq: int
) -> tuple[Event, ...]:
    """Return the candidates that apply to a token with these handles, in their order."""
    known = frozenset(handles)
    return tuple(
        each.event
        for each in candidates
        if each.event.revocation.effect not in NOT_RESTRICTING
        and hits(each.event, handles=known, issued_seq=issued_seq, issued_at_us=each.since_us)
    )
