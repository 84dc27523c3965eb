"""Look up tokens by hash: everything that queued up is answered by one statement (design 5)."""

from collections.abc import Callable, Collection, Sequence
from functools import partial

from rescind.core.handles import Handle
from rescind.core.record import Record
from rescind.core.revocation import ENDED, NOT_HOLDS, Effect, Event, Hold, hits
from rescind.wire import records
from rescind.wire.records import Resolved
from rescind.wire.trust import Purpose
from rescind_authority.metrics import Metrics
from rescind_authority.ports.keys import Keys
from rescind_authority.ports.tokens import Candidate, Records, SharedRecords, Snapshot, TokenState
from rescind_authority.usecases.batching import Batcher
from rescind_runtime.clock import monotonic_raw_ns

_MAX_BATCH = 512
_CAPACITY = 16_384


class Resolver:
    """Read the records of tokens, each as of the snapshot that all of its facts come from.

    What a sidecar asked for is left for the others in `shared`, if there is such a place. That is
    the only way in: an issuer knows its token without what holds it (a suspension of its subject,
    say), and must not leave it there as if it were free. `watch` hears of all that is looked up.
    """

    def __init__(
        self,
        store: Records,
        *,
        keys: Keys,
        metrics: Metrics,
        watch: Callable[[Snapshot], None],
        shared: SharedRecords | None = None,
    ) -> None:
        self._store = store
        self._watch = watch
        self._keys = keys
        self._shared = shared
        self._metrics = metrics
        self._batcher = Batcher[bytes, tuple[Snapshot, Record | None]](
            self._read, most=_MAX_BATCH, capacity=_CAPACITY, what="look-ups"
        )

    async def run(self) -> None:
        """Work until cancelled."""
        await self._batcher.run()

    async def resolve(self, token_hash: bytes) -> Resolved:
        """Answer a look-up. An expired token is found too: the verifier says `expired`."""
        snapshot, record = await self._batcher.ask(token_hash)
        if record is None:
            return Resolved(snapshot.epoch, snapshot.as_of, None)
        encoded = records.encode(record, partial(self._keys.sign, Purpose.RECORDS))
        if self._shared is not None:
            self._shared.keep(record, encoded, now_us=snapshot.at_us)
        return Resolved(snapshot.epoch, snapshot.as_of, encoded)

    async def look(self, token_hash: bytes) -> tuple[Record | None, int]:
        """Read a record, and Postgres's clock (Unix µs) when it was read."""
        snapshot, record = await self._batcher.ask(token_hash)
        return record, snapshot.at_us

    async def _read(self, hashes: Sequence[bytes]) -> Sequence[tuple[Snapshot, Record | None]]:
        began_ns = monotonic_raw_ns()
        snapshot = await self._store.by_hash(frozenset(hashes))
        self._watch(snapshot)
        seconds = (monotonic_raw_ns() - began_ns) / 1e9
        found = {state.token.token_hash: record_of(state, snapshot) for state in snapshot.tokens}
        known = sum(token_hash in found for token_hash in hashes)
        self._metrics.resolves(found=known, unknown=len(hashes) - known, seconds=seconds)
        return [(snapshot, found.get(token_hash)) for token_hash in hashes]


def record_of(state: TokenState, snapshot: Snapshot) -> Record:
    """Make the record of a token from what one snapshot says of it."""
    token = state.token
    return Record(
        token_hash=token.token_hash,
        epoch=snapshot.epoch,
        as_of=snapshot.as_of,
        token_id=token.token_id,
        kind=token.kind,
        subject=token.subject,
        granted=frozenset(token.scopes),
        audience=frozenset(token.audience),
        issued_at_us=token.issued_at_us,
        issued_seq=token.issued_seq,
        not_before_us=token.not_before_us or 0,
        expires_at_us=token.expires_at_us,
        handles=token.handles,
        holds=holds_of(state),
        tenant=token.tenant,
        client=token.client,
        session=token.session,
        labels=token.labels,
        lineage=token.lineage,
        chain=token.chain,
        removed=removed_of(state),
        conditions=token.conditions,
    )


def removed_of(state: TokenState) -> tuple[str, ...]:
    """Say which patterns the narrows that hold a token took away, all of them together."""
    narrows = (
        event.revocation for event in holding(state) if event.revocation.effect == Effect.NARROW
    )
    return tuple(sorted({pattern for narrow in narrows for pattern in narrow.scopes}))


def holds_of(state: TokenState) -> tuple[Hold, ...]:
    """Return what holds a token, as its record carries it: its early end, then revocations.

    The end is a position, as a revocation is: no clock, wherever it stands, revives the token.
    """
    ended = state.token.ended
    return (
        *(() if ended is None else (Hold(ended.revocation_id, ENDED, ended.seq),)),
        *(
            Hold(event.revocation.revocation_id, event.revocation.effect, event.seq)
            for event in holding(state)
        ),
    )


def holding(state: TokenState) -> tuple[Event, ...]:
    """Say which revocations hold a token, in the ledger's order."""
    token = state.token
    return hitting(state.candidates, handles=token.handles, issued_seq=token.issued_seq)


def hitting(
    candidates: Sequence[Candidate], *, handles: Collection[Handle], issued_seq: int
) -> tuple[Event, ...]:
    """Choose the revocations that hold a token with these handles, in their order."""
    known = frozenset(handles)
    return tuple(
        each.event
        for each in candidates
        if each.event.revocation.effect not in NOT_HOLDS
        and hits(each.event, handles=known, issued_seq=issued_seq, issued_at_us=each.since_us)
    )
