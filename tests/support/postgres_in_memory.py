"""Postgres as the authority's use cases see it, in memory: their ports, and each port's contract.

Every statement is one step of the loop, which is its snapshot; between steps a trip takes time, and
may fail. `queries/*.sql` defines each statement; this module implements it again without indexes.
"""

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeVar

from tests.support.changes_in_memory import Known, ledger_time_us

from rescind.core import ledger
from rescind.core.handles import Handle
from rescind.core.ledger import Position
from rescind.core.posture import MAX_GRACE_MS
from rescind.core.revocation import NOT_RESTRICTING, Effect, Event, hits
from rescind.errors import RescindError
from rescind.wire.heartbeat import Heartbeat, Release, Trail
from rescind_authority.errors import CommitUnknownError, StoreUnavailableError
from rescind_authority.ports.clients import StoredClient
from rescind_authority.ports.enrolments import (
    Binding,
    EnrolledInstance,
    Enrolment,
    Evicted,
    NoPlace,
)
from rescind_authority.ports.leases import (
    CommittedBeats,
    Instance,
    LeaseRow,
    RefusedHeartbeat,
    Term,
    WaitSnapshot,
)
from rescind_authority.ports.ledger import (
    Change,
    End,
    Epoch,
    EventRange,
    FirstRequest,
    IdempotentRequest,
    Key,
    LedgerEntry,
    LedgerTip,
    RecordedChange,
)
from rescind_authority.ports.revocations import ScheduledLift
from rescind_authority.ports.tokens import (
    Candidate,
    Ended,
    EndReason,
    IssuanceSnapshot,
    IssueTimes,
    NewToken,
    ScheduledEnd,
    Snapshot,
    StoredToken,
    TokenState,
)

T = TypeVar("T")

_NOTHING: Mapping[End, int] = MappingProxyType({})

Trip = Callable[[], Awaitable[None]]
"""A wait as long as a message to Postgres, or back. Raises StoreUnavailableError."""


@dataclass(frozen=True, slots=True)
class Row:
    """A lease row."""

    service: str
    posture: str
    counter: int
    version: int
    epoch: int | None = None
    acked_seq: int = 0
    released: bool = False
    nonce: bytes | None = None
    trail: Trail | None = None
    shared: bool = False
    host: str = ""
    software: str = ""
    applied_seq: int | None = None
    trust_serial: int | None = None
    first_seen_us: int = 0
    last_seen_us: int = 0
    released_us: int | None = None


@dataclass(frozen=True, slots=True)
class EnrolmentRow:
    """An enrolment. `evicted_us` and `evicted_why` are None unless the instance was evicted."""

    enrolment: Enrolment
    epoch: int
    enrolled_us: int
    evicted_us: int | None = None
    evicted_why: str | None = None
    evicted_by: str | None = None


@dataclass
class Tables:
    """The committed state of all tables."""

    epochs: list[Epoch]
    end: Position
    grant_term_ms: int
    wait_term_ms: int
    target_term_ms: int
    term_version: int = 1
    entries: list[tuple[int, LedgerEntry]] = field(default_factory=list[tuple[int, LedgerEntry]])
    lifted: set[tuple[str, int]] = field(default_factory=set[tuple[str, int]])
    tokens: dict[bytes, StoredToken] = field(default_factory=dict[bytes, StoredToken])
    leases: dict[bytes, Row] = field(default_factory=dict[bytes, Row])
    keys: dict[Key, FirstRequest] = field(default_factory=dict[Key, FirstRequest])
    receipts: dict[str, bytes] = field(default_factory=dict[str, bytes])
    ending: dict[End, int] = field(default_factory=dict[End, int])
    reasons: dict[End, EndReason] = field(default_factory=dict[End, EndReason])
    possessions: dict[bytes, bytes] = field(default_factory=dict[bytes, bytes])
    latest_us: int = 0
    ended: set[bytes] = field(default_factory=set[bytes])
    unknown_grace_ms: int | None = None
    details: dict[str, tuple[bytes, ...]] = field(default_factory=dict[str, tuple[bytes, ...]])
    enrolments: dict[bytes, EnrolmentRow] = field(default_factory=dict[bytes, EnrolmentRow])
    bindings: dict[str, Binding] = field(default_factory=dict[str, Binding])
    exact: set[str] = field(default_factory=set[str])
    clients: dict[str, StoredClient] = field(default_factory=dict[str, StoredClient])
    assertions: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])

    def copy(self) -> "Tables":
        """Return a backup."""
        changed = {
            name: type(value)(value)
            for name in (
                *("epochs", "entries", "lifted", "tokens", "leases", "keys", "receipts"),
                *("ending", "reasons", "enrolments", "ended", "bindings", "exact", "possessions"),
                *("clients", "assertions"),
            )
            for value in [getattr(self, name)]
        }
        return dataclasses.replace(self, **changed, details=dict(self.details))

    @property
    def sessions(self) -> Known:
        """The same as `known`, with the tokens that a revoke hits."""
        revokes = [
            entry.event
            for _, entry in self.entries
            if entry.event.revocation.effect == Effect.REVOKE
        ]
        revoked = {
            token.grant.token_id
            for token in self.tokens.values()
            if any(
                hits(
                    event,
                    handles=token.grant.handles,
                    issued_seq=token.issued_seq,
                    issued_at_us=token.issued_at_us,
                )
                for event in revokes
            )
        }
        return dataclasses.replace(self.known, revoked=revoked)

    @property
    def known(self) -> Known:
        """The tokens, and their ends by an event."""
        return Known(self.tokens, self.ending, self.reasons, self.possessions)

    def keep(self, known: Known) -> None:
        """Store the tokens, and their ends by an event."""
        self.tokens, self.ending = dict(known.tokens), dict(known.ending)
        self.reasons, self.possessions = dict(known.reasons), dict(known.possessions)

    def restricting(self, handles: Collection[Handle]) -> list[Event]:
        """Return the revocations that are not lifted and select a token with these handles."""
        known = frozenset(handles)
        return [
            entry.event
            for _, entry in self.entries
            if entry.event.revocation.effect not in NOT_RESTRICTING
            and entry.event.revocation.selector.matches(known)
            and (entry.event.revocation.revocation_id, entry.event.seq) not in self.lifted
        ]

    def lift(self, revocation_id: str) -> None:
        """Mark the revocations that a lift ends: those that it names, except for a revoke."""
        events = [entry.event for _, entry in self.entries]
        self.lifted |= {
            (revocation_id, event.seq)
            for event in events
            if event.revocation.revocation_id == revocation_id
            and event.revocation.effect != Effect.REVOKE
        }

    def owns(self, position: Position | None) -> bool:
        """Return True if a position is one of this ledger's, by its head."""
        if position is None:
            return False
        known = {(entry.event.seq): (epoch, entry.head) for epoch, entry in self.entries}
        bases = {(each.number, each.base_seq, each.base_head) for each in self.epochs}
        at = (position.epoch, position.seq, position.head)
        return known.get(position.seq) == (position.epoch, position.head) or at in bases


def begun(*, term_ms: int, at_us: int) -> Tables:
    """Return the tables of a new ledger."""
    end = ledger.genesis(1)
    return Tables([Epoch(1, 0, end.head, at_us)], end, term_ms, term_ms, term_ms)


HANGS_S = 1.0
"""How long a commit waits for a missing standby before its connection is cut."""


class Cluster:
    """The server that all authorities share, and `old`, a replaced one that still answers."""

    def __init__(self, tables: Tables, *, now_us: Callable[[], int]) -> None:
        self.tables = tables
        self.old: Tables | None = None
        self.now_us = now_us
        self.head = asyncio.Lock()
        self.key_locks: dict[Key, asyncio.Lock] = {}

    def time_us(self, tables: Tables) -> int:
        """Return a ledger's time: the clock, unless that was set back behind its last event."""
        return ledger_time_us(tables.latest_us, self.now_us())

    def restore(self, backup: Tables, *, longest_grace_ms: int = MAX_GRACE_MS) -> None:
        """Restore a backup, and begin an epoch; transactions under way are fenced off."""
        tables = backup.copy()
        tables.unknown_grace_ms = max(longest_grace_ms, backup.unknown_grace_ms or 0)
        tables.ended.clear()
        tables.end = ledger.begin_epoch(backup.end, epoch=self.tables.end.epoch + 1)
        tables.epochs.append(
            Epoch(tables.end.epoch, tables.end.seq, tables.end.head, self.now_us())
        )
        self.tables, self.head, self.key_locks = tables, asyncio.Lock(), {}
        self.old = None  # the runbook: fenced first

    def fail_over(self) -> None:
        """Promote a standby, which has every commit. The primary lives on; its commits hang."""
        self.old, self.tables = self.tables, self.tables.copy()
        self.head, self.key_locks = asyncio.Lock(), {}

    def fence(self) -> None:
        """Stop the old primary."""
        self.old = None


class Transaction:
    """One transaction of the sequencer or of an issuer: nothing of it is visible before COMMIT."""

    def __init__(self, cluster: Cluster, trip: Trip, tables: Tables | None = None) -> None:
        self._cluster = cluster
        self._trip = trip
        self._tables = cluster.tables if tables is None else tables
        self._locks: list[asyncio.Lock] = []
        self._writes: list[Callable[[Tables], None]] = []
        self._claims: dict[Key, bytes] = {}
        self._rows: set[Key] = set()
        self._changes: list[tuple[Change, int]] = []

    @property
    def hangs(self) -> bool:
        """True if its COMMIT never ends: no standby confirms the commits of an old primary."""
        return self._tables is self._cluster.old

    async def _take(self, lock: asyncio.Lock) -> None:
        if self.hangs:
            return  # the locks are the new primary's
        await lock.acquire()
        self._locks.append(lock)

    async def lock_keys(self, requests: Sequence[IdempotentRequest]) -> Mapping[Key, FirstRequest]:
        await self._trip()
        for request in requests:
            await self._take(self._cluster.key_locks.setdefault(request.key, asyncio.Lock()))
            self._claims[request.key] = request.body_hash
        return {
            request.key: self._tables.keys.get(request.key, FirstRequest(request.body_hash, None))
            for request in requests
        }

    async def change(self, change: Change) -> RecordedChange | None:
        await self._trip()
        row = Key("the row of a token", change.token_id)
        if row not in self._rows:  # else another change of this transaction has its lock
            self._rows.add(row)
            await self._take(self._cluster.key_locks.setdefault(row, asyncio.Lock()))
        now_us = self._cluster.time_us(self._tables)
        made = self._after_changes(self._tables).changed(change, now_us)
        if made is None:
            return None
        self._changes.append((change, now_us))
        return made[1]

    def _after_changes(self, tables: Tables) -> Known:
        """Return the tokens as this transaction sees them: as committed, with its changes."""
        known = tables.known
        for change, now_us in self._changes:
            made = known.changed(change, now_us)
            assert made is not None, "the lock of its row was held"
            known = made[0]
        return known

    async def lock_head(self) -> LedgerTip:
        await self._trip()
        await self._take(self._cluster.head)
        return tip_of(self._tables, self._cluster.time_us(self._tables))

    async def append(
        self,
        entries: Sequence[LedgerEntry],
        *,
        exact: Collection[str],
        head: Position,
        answers: Mapping[Key, str],
        ends: Mapping[End, int] = _NOTHING,
    ) -> None:
        at = {
            entry.event.seq: Ended(entry.event.seq, entry.event.revocation.revocation_id)
            for entry in entries
        }

        def write(tables: Tables) -> None:
            assert tables.end.seq + len(entries) == head.seq
            for entry in entries:
                lifts = entry.event.revocation.lifts
                if lifts is not None:
                    tables.lift(lifts)
                tables.entries.append((head.epoch, entry))
                tables.latest_us = max(tables.latest_us, entry.event.at_us)
            tables.keep(tables.known.after({end: at[seq] for end, seq in ends.items()}))
            tables.exact |= set(exact)
            tables.end = head

        self._writes.append(write)
        await self.store_answers(answers)

    async def store_answers(self, answers: Mapping[Key, str]) -> None:
        def write(tables: Tables) -> None:
            for key, answer in answers.items():
                tables.keys[key] = FirstRequest(self._claims[key], answer)

        self._writes.append(write)

    async def read_issuance(
        self, parent_hash: bytes | None, handles: Collection[Handle]
    ) -> IssuanceSnapshot:
        await self._trip()
        tables, at_us = self._tables, self._cluster.time_us(self._tables)
        parent = None if parent_hash is None else tables.known.by_hash(parent_hash)
        family = {*handles, *(parent.grant.handles if parent else ())}
        candidates = tuple(Candidate(event, at_us) for event in tables.restricting(family))
        state = None if parent is None else TokenState(parent, candidates)
        snapshot = Snapshot(tables.end.epoch, tables.end.seq, at_us, (state,) if state else ())
        return IssuanceSnapshot(snapshot, state, candidates)

    async def read_presented(self, token_hash: bytes) -> Snapshot:
        await self._trip()
        return snapshot_of(self._tables, [token_hash], self._cluster.time_us(self._tables))

    async def lock_sessions(self, subject: str) -> None:
        await self._trip()
        key = Key("the sessions of a subject", subject)
        await self._take(self._cluster.key_locks.setdefault(key, asyncio.Lock()))

    async def end_surplus(self, subject: str, *, keep: int) -> int:
        await self._trip()
        now_us = self._cluster.time_us(self._tables)
        found = self._tables.sessions.surplus(subject, now_us, keep=keep)
        self._writes.append(
            lambda tables: tables.keep(tables.known.cut(found, now_us, EndReason.SURPLUS))
        )
        return len(found)

    async def insert_token(self, token: NewToken, issued: IssueTimes) -> None:
        await self._trip()
        self.store(token, issued)

    async def put_client(self, client: StoredClient, *, replaces: str | None, actor: str) -> bool:
        await self._trip()
        known = self._tables.clients.get(client.client_id)
        if (None if known is None else known.credential) != replaces:
            return False
        now_us = self._cluster.time_us(self._tables) if known is None else known.created_at_us
        stored = dataclasses.replace(
            client,
            created_by=client.created_by if known is None else known.created_by,
            created_at_us=now_us,
        )

        def write(tables: Tables) -> None:
            tables.clients[client.client_id] = stored

        self._writes.append(write)
        return True

    def store(self, token: NewToken, issued: IssueTimes) -> None:
        stored = StoredToken(
            token_hash=token.token_hash,
            grant=token.grant,
            issued_at_us=issued.issued_at_us,
            issued_seq=issued.issued_seq,
            expires_at_us=issued.expires_at_us,
            last_used_at_us=None,
        )

        def write(tables: Tables) -> None:
            tables.tokens[token.token_hash] = stored
            tables.bindings[token.grant.token_id] = token.sidecars
            if token.possession_hash is not None:
                tables.possessions[token.token_hash] = token.possession_hash

        self._writes.append(write)

    def commit(self) -> None:
        if self._tables is not self._cluster.tables:
            raise StoreUnavailableError("the server was replaced by a backup")
        self._tables.keep(self._after_changes(self._tables))
        for write in self._writes:
            write(self._tables)

    def unlock(self) -> None:
        for lock in self._locks:
            lock.release()


class PostgresInMemory:
    """One authority's connection to the server: ports Transactions, Ledger, Records, Ends, Leases,
    Receipts and Epochs, and of the port Revocations those that apply for a limited time.
    """

    def __init__(
        self, cluster: Cluster, trip: Trip, *, stale: Callable[[], bool] = lambda: False
    ) -> None:
        """Store the arguments. `stale()` is true for a connection from before a failover."""
        self._cluster = cluster
        self._trip = trip
        self._stale = stale

    def _borrowed(self) -> Tables:
        """Return the tables of the server that a borrowed connection leads to."""
        old = self._cluster.old
        return old if old is not None and self._stale() else self._cluster.tables

    async def _do(self, statement: Callable[[Tables], T]) -> T:
        await self._trip()
        answer = statement(self._borrowed())
        await self._trip()
        return answer

    async def _write(self, statement: Callable[[Tables], T]) -> T:
        """Commit a statement: on an old primary that hangs until the connection is cut."""
        await self._trip()
        return await self._committed(self._borrowed(), statement)

    async def _committed(self, tables: Tables, statement: Callable[[Tables], T]) -> T:
        if tables is self._cluster.old:
            await asyncio.sleep(HANGS_S)
            raise CommitUnknownError
        answer = statement(tables)
        await self._trip()
        return answer

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[Transaction]:
        await self._trip()
        transaction = Transaction(self._cluster, self._trip, self._borrowed())
        try:
            yield transaction
            await self._trip()
            if transaction.hangs:
                await asyncio.sleep(HANGS_S)
                raise CommitUnknownError
            transaction.commit()
        finally:
            transaction.unlock()
        try:
            await self._trip()
        except RescindError:
            raise CommitUnknownError from None

    async def tip(self) -> LedgerTip:
        return await self._do(lambda tables: tip_of(tables, self._cluster.time_us(tables)))

    async def after(self, seq: int, *, limit: int) -> EventRange:
        def read(tables: Tables) -> EventRange:
            payloads = [entry.payload for _, entry in tables.entries if entry.event.seq > seq]
            return EventRange(tables.end.epoch, tables.end.seq, seq + 1, tuple(payloads[:limit]))

        return await self._do(read)

    async def by_hash(self, hashes: Collection[bytes]) -> Snapshot:
        return await self._do(
            lambda tables: snapshot_of(tables, hashes, self._cluster.time_us(tables))
        )

    async def pending(self, *, limit: int) -> tuple[ScheduledEnd, ...]:
        return await self._do(
            lambda tables: tables.known.pending(self._cluster.time_us(tables), limit=limit)
        )

    async def end_idle(self, *, delay_us: int, limit: int) -> int:
        def write(tables: Tables) -> int:
            now_us = self._cluster.time_us(tables)
            began_us = tables.epochs[-1].began_us
            found = tables.sessions.idle(now_us, delay_us=delay_us, began_us=began_us)[:limit]
            tables.keep(tables.known.cut(found, now_us, EndReason.IDLE))
            return len(found)

        return await self._write(write)

    async def by_id(self, token_ids: Collection[str]) -> Snapshot:
        return await self._do(
            lambda tables: snapshot_of(
                tables,
                [
                    each.token_hash
                    for each in tables.tokens.values()
                    if each.grant.token_id in token_ids and each.retired is None
                ],
                self._cluster.time_us(tables),
            )
        )

    async def beat(self, heartbeats: Sequence[Heartbeat]) -> CommittedBeats:
        def write(tables: Tables) -> frozenset[bytes]:
            now_us = self._cluster.time_us(tables)
            return frozenset(beat.instance for beat in heartbeats if counted(tables, beat, now_us))

        await self._trip()
        tables = self._borrowed()
        heard = await self._committed(tables, write)
        await self._trip()
        if tables is not self._cluster.tables and tables is not self._cluster.old:
            raise StoreUnavailableError("the server was replaced by a backup")
        return CommittedBeats(heard, tip_of(tables, self._cluster.time_us(tables)))

    async def refuse(self, heartbeats: Sequence[Heartbeat]) -> Sequence[RefusedHeartbeat | None]:
        def write(tables: Tables) -> Sequence[RefusedHeartbeat | None]:
            shared = {beat.instance for beat in heartbeats if shares(tables, beat)}
            for instance in shared:
                row = tables.leases[instance]
                tables.leases[instance] = dataclasses.replace(
                    row, shared=True, version=row.version + 1
                )
            return [
                (
                    RefusedHeartbeat(beat.counter, True, False, False)
                    if beat.instance in tables.ended
                    else None
                )
                if row is None
                else RefusedHeartbeat(
                    counter=row.counter,
                    over=row.released or row.shared,
                    repeated=row.nonce == beat.nonce,
                    shared=beat.instance in shared,
                )
                for beat in heartbeats
                for row in [tables.leases.get(beat.instance)]
            ]

        return await self._write(write)

    async def release(self, releases: Sequence[Release]) -> None:
        def write(tables: Tables) -> None:
            now_us = self._cluster.time_us(tables)
            for each in releases:
                row = tables.leases.get(each.instance) or _unheard(now_us)
                if row.released or row.shared or each.instance in tables.ended:
                    continue
                tables.ended.add(each.instance)
                copied = not follows(row, each.trail)
                tables.leases[each.instance] = dataclasses.replace(
                    row,
                    counter=max(row.counter, each.counter),
                    # A nonce is that of the row's counter, else nothing is known of it.
                    nonce=row.nonce if each.counter <= row.counter else None,
                    released=not copied,
                    released_us=None if copied else now_us,
                    shared=copied,
                    last_seen_us=now_us,
                    version=max(row.version + 1, each.counter),
                )

        await self._write(write)

    async def fleet(self) -> tuple[Instance, ...]:
        def read(tables: Tables) -> tuple[Instance, ...]:
            listed = sorted(
                tables.leases.items(),
                key=lambda each: (
                    each[1].released,
                    each[1].service,
                    -each[1].last_seen_us,
                    each[0],
                ),
            )
            return tuple(
                _instance(instance, row, tables.enrolments.get(instance))
                for instance, row in listed
            )

        return await self._do(read)

    async def waiting(self, revocation_id: str | None = None) -> WaitSnapshot:
        def read(tables: Tables) -> WaitSnapshot:
            rows = {
                instance: LeaseRow(
                    instance=instance,
                    service=row.service,
                    posture=row.posture,
                    version=row.version,
                    epoch=row.epoch,
                    acked_seq=row.acked_seq,
                    released=row.released,
                    shared=row.shared or evicted(tables, instance),
                    nonce=None if row.trail is None else row.nonce,
                    released_us=row.released_us,
                )
                for instance, row in tables.leases.items()
            }
            end, at_us = tables.end, self._cluster.time_us(tables)
            positions = [
                (epoch, entry.event.seq)
                for epoch, entry in tables.entries
                if entry.event.revocation.revocation_id == revocation_id
            ]
            return WaitSnapshot(
                end.epoch,
                end.seq,
                tables.wait_term_ms,
                at_us,
                rows,
                max(positions, default=None),
                unknown_grace_ms=tables.unknown_grace_ms,
            )

        return await self._do(read)

    async def heads(self, seqs: Collection[int]) -> Mapping[int, tuple[int, bytes]]:
        return await self._do(
            lambda tables: {
                entry.event.seq: (epoch, entry.head)
                for epoch, entry in tables.entries
                if entry.event.seq in seqs
            }
        )

    async def entries_of(self, revocation_id: str) -> tuple[LedgerEntry, ...]:
        return await self._do(
            lambda tables: tuple(
                entry
                for _, entry in tables.entries
                if entry.event.revocation.revocation_id == revocation_id
            )
        )

    async def settle_epoch(self, epoch: int) -> None:
        def write(tables: Tables) -> None:
            if tables.end.epoch == epoch:
                tables.unknown_grace_ms = None

        await self._do(write)

    async def delete_ended(self, versions: Mapping[bytes, int]) -> None:
        def write(tables: Tables) -> None:
            for instance, version in versions.items():
                row = tables.leases.get(instance)
                if row is not None and row.version == version:
                    del tables.leases[instance]
                    tables.ended.add(instance)

        await self._write(write)

    async def keep(
        self,
        revocation_id: str,
        *,
        enforced_at_us: int,
        envelope: bytes,
        chunks: Sequence[bytes] = (),
    ) -> bytes | None:
        def write(tables: Tables) -> bytes | None:
            names = {entry.event.revocation.revocation_id for _, entry in tables.entries}
            if revocation_id not in names:
                return None
            kept = tables.receipts.setdefault(revocation_id, envelope)
            if kept == envelope:
                tables.details.setdefault(revocation_id, tuple(chunks))
            return kept

        return await self._write(write)

    async def details(self, revocation_id: str, numbers: range) -> tuple[bytes, ...]:
        return await self._do(
            lambda tables: tables.details.get(revocation_id, ())[numbers.start : numbers.stop]
        )

    async def get(self, revocation_id: str) -> bytes | None:
        def read(tables: Tables) -> bytes | None:
            return tables.receipts.get(revocation_id)

        # Under a lock, so if there is a receipt, there is something to commit.
        await self._trip()
        tables = self._borrowed()
        return None if read(tables) is None else await self._committed(tables, read)

    async def scheduled_lifts(self, *, limit: int) -> tuple[ScheduledLift, ...]:
        def read(tables: Tables) -> tuple[ScheduledLift, ...]:
            now_us = self._cluster.time_us(tables)
            timed = [
                ScheduledLift(
                    entry.event,
                    exact=entry.event.revocation.revocation_id in tables.exact,
                    left_us=until_us - now_us,
                )
                for _, entry in tables.entries
                if (until_us := entry.event.revocation.until_us) is not None
                and entry.event.revocation.effect not in (*NOT_RESTRICTING, Effect.REVOKE)
                and (entry.event.revocation.revocation_id, entry.event.seq) not in tables.lifted
            ]
            return tuple(sorted(timed, key=lambda each: each.left_us)[:limit])

        return await self._do(read)

    async def known(self) -> tuple[Epoch, ...]:
        return await self._do(lambda tables: tuple(tables.epochs))

    async def payloads(self, seqs: Collection[int]) -> Mapping[int, bytes]:
        return await self._do(
            lambda tables: {
                entry.event.seq: entry.payload
                for _, entry in tables.entries
                if entry.event.seq in seqs
            }
        )


_NO_BINDING = Binding("strict", 0)
"""The binding of a credential that is missing: it allows no sidecar."""

_SILENT_US = 60_000_000
_HOUR_US = 3_600_000_000


class EnrolmentsInMemory(PostgresInMemory):
    """Enrolled instances (port Enrolments). No row is ever deleted for its age."""

    async def read(self, instances: Collection[bytes]) -> Mapping[bytes, EnrolledInstance]:
        def read(tables: Tables) -> Mapping[bytes, EnrolledInstance]:
            now_us = self._cluster.time_us(tables)
            return {
                instance: EnrolledInstance(
                    row.enrolment,
                    silent=_silent(tables, instance, row, now_us),
                    evicted=row.evicted_why,
                )
                for instance in instances
                if (row := tables.enrolments.get(instance)) is not None
            }

        return await self._do(read)

    async def binding(self, credential: str) -> Binding:
        return await self._do(lambda tables: tables.bindings.get(credential, _NO_BINDING))

    async def enrol(self, enrolment: Enrolment, *, most: int, most_begun: int) -> NoPlace | None:
        def write(tables: Tables) -> NoPlace | None:
            now_us = self._cluster.time_us(tables)
            others = [
                (instance, row)
                for instance, row in tables.enrolments.items()
                if row.enrolment.credential == enrolment.credential
                and instance != enrolment.instance
            ]
            placed = sum(_has_place(tables, instance, row, now_us) for instance, row in others)
            begun = sum(
                instance in tables.leases and _seen_us(tables, instance, row) >= now_us - _HOUR_US
                for instance, row in others
            )
            known = tables.enrolments.get(enrolment.instance)
            evicted_why = None if known is None else known.evicted_why
            if placed >= most or begun >= most_begun or evicted_why is not None:
                return NoPlace(evicted_why, placed, begun)
            tables.enrolments[enrolment.instance] = EnrolmentRow(
                enrolment, tables.end.epoch, now_us
            )
            return None

        return await self._write(write)

    async def evict(self, instance: bytes, *, why: str, actor: str | None) -> Evicted | None:
        def write(tables: Tables) -> Evicted | None:
            now_us = self._cluster.time_us(tables)
            lease = tables.leases.get(instance)
            row = tables.enrolments.get(instance)
            if row is None and lease is not None:  # an authority of an older version enrolled it
                unnamed = Enrolment(instance, "", lease.service, lease.posture)
                row = EnrolmentRow(unnamed, tables.end.epoch, lease.first_seen_us)
            if row is None:
                return None
            evicted_us = now_us if row.evicted_us is None else row.evicted_us
            # The first reason stays, unless it has no actor and an administrator now states one.
            replaced = row.evicted_by is None and actor is not None
            evicted_why = why if replaced or row.evicted_why is None else row.evicted_why
            tables.enrolments[instance] = dataclasses.replace(
                row,
                evicted_us=evicted_us,
                evicted_why=evicted_why,
                evicted_by=row.evicted_by or actor,
            )
            may_be_leased = lease is None or not lease.released
            lease_ends_us = evicted_us + tables.wait_term_ms * 1000 if may_be_leased else evicted_us
            return Evicted(row.enrolment.service, evicted_us, evicted_why, lease_ends_us)

        return await self._write(write)


def evicted(tables: Tables, instance: bytes) -> bool:
    """Return True if an instance was evicted."""
    known = tables.enrolments.get(instance)
    return known is not None and known.evicted_us is not None


def _seen_us(tables: Tables, instance: bytes, row: EnrolmentRow) -> int:
    lease = tables.leases.get(instance)
    return row.enrolled_us if lease is None else max(row.enrolled_us, lease.last_seen_us)


def _silent(tables: Tables, instance: bytes, row: EnrolmentRow, now_us: int) -> bool:
    silence_us = tables.wait_term_ms * 1000 + _SILENT_US
    return _seen_us(tables, instance, row) < now_us - silence_us


def _has_place(tables: Tables, instance: bytes, row: EnrolmentRow, now_us: int) -> bool:
    lease = tables.leases.get(instance)
    return (
        row.epoch == tables.end.epoch
        and row.evicted_us is None
        and not (lease is not None and lease.released)
        and not _silent(tables, instance, row, now_us)
    )


def _unheard(now_us: int) -> Row:
    """Return the row of an instance without a heartbeat."""
    return Row("", "", 0, 0, first_seen_us=now_us, last_seen_us=now_us)


def _instance(instance: bytes, row: Row, enrolled: EnrolmentRow | None) -> Instance:
    return Instance(
        instance=instance,
        service=row.service,
        host=row.host,
        version=row.software,
        posture=row.posture,
        epoch=row.epoch,
        applied_seq=row.applied_seq,
        acked_seq=row.acked_seq,
        first_seen_us=row.first_seen_us,
        last_seen_us=row.last_seen_us,
        released_at_us=row.released_us,
        credential=None if enrolled is None else enrolled.enrolment.credential or None,
        evicted_at_us=None if enrolled is None else enrolled.evicted_us,
        evicted_why=None if enrolled is None else enrolled.evicted_why,
        trust_serial=row.trust_serial,
    )


class ClientsInMemory(PostgresInMemory):
    """OAuth clients (port Clients)."""

    async def read_client(self, client_id: str) -> StoredClient | None:
        return await self._do(lambda tables: tables.clients.get(client_id))

    async def list_clients(self, after: str, *, limit: int) -> tuple[StoredClient, ...]:
        return await self._do(
            lambda tables: tuple(
                tables.clients[each] for each in sorted(tables.clients) if each > after
            )[:limit]
        )

    async def remove_client(self, client_id: str, *, credential: str, actor: str) -> bool:
        def write(tables: Tables) -> bool:
            known = tables.clients.get(client_id)
            if known is None or known.credential != credential:
                return False
            del tables.clients[client_id]
            return True

        return await self._write(write)

    async def use_assertion(self, client_id: str, jti: str, *, expires_at_us: int) -> bool:
        def write(tables: Tables) -> bool:
            fresh = (client_id, jti) not in tables.assertions
            tables.assertions.setdefault((client_id, jti), expires_at_us)
            return fresh

        return await self._write(write)


class TermsInMemory(PostgresInMemory):
    """The terms in the head row (port Terms)."""

    async def get(self) -> Term:  # type: ignore[override]  # another port has a method of this name
        return await self._do(term_of)

    async def set_target(self, term_ms: int, *, actor: str) -> Term:
        def write(tables: Tables) -> Term:
            tables.target_term_ms = term_ms
            tables.term_version += 1
            return term_of(tables)

        return await self._write(write)

    async def move(self, version: int, *, grant_ms: int, wait_ms: int) -> bool:
        def write(tables: Tables) -> bool:
            if tables.term_version != version:
                return False
            tables.grant_term_ms, tables.wait_term_ms = grant_ms, wait_ms
            tables.term_version += 1
            return True

        return await self._write(write)


def term_of(tables: Tables) -> Term:
    """Return the terms."""
    return Term(
        grant_ms=tables.grant_term_ms,
        wait_ms=tables.wait_term_ms,
        target_ms=tables.target_term_ms,
        version=tables.term_version,
    )


def snapshot_of(tables: Tables, hashes: Collection[bytes], at_us: int) -> Snapshot:
    """Return tokens by the SHA-256 of a secret, with the revocations that may apply to them."""
    looked_up = [tables.known.by_hash(each) for each in sorted(hashes)]
    states = tuple(
        TokenState(
            token,
            tuple(
                Candidate(event, token.issued_at_us)
                for event in tables.restricting(token.grant.handles)
            ),
        )
        for token in looked_up
        if token is not None
    )
    return Snapshot(tables.end.epoch, tables.end.seq, at_us, states)


def tip_of(tables: Tables, at_us: int) -> LedgerTip:
    """Return the ledger's end."""
    return LedgerTip(tables.end, tables.grant_term_ms, at_us)


def counted(tables: Tables, beat: Heartbeat, now_us: int) -> bool:
    """Write a heartbeat to its row, if it counts."""
    row = tables.leases.get(beat.instance) or _unheard(now_us)
    if beat.instance in tables.ended:
        return False
    if row.released or row.shared or beat.counter <= row.counter or not follows(row, beat.trail):
        return False
    applied = beat.applied
    acked_seq = applied.seq if applied is not None and tables.owns(applied) else 0
    tables.leases[beat.instance] = Row(
        service=beat.service,
        posture=beat.posture,
        counter=beat.counter,
        version=max(row.version + 1, beat.counter),
        epoch=None if applied is None else applied.epoch,
        acked_seq=max(row.acked_seq, acked_seq),
        nonce=beat.nonce,
        trail=beat.trail,
        host=beat.host,
        software=beat.version,
        applied_seq=None if applied is None else applied.seq,
        trust_serial=beat.trust_serial,
        first_seen_us=row.first_seen_us,
        last_seen_us=now_us,
    )
    return True


def follows(row: Row, trail: Trail | None) -> bool:
    """Return False if the sender of this trail did not send the heartbeat that counted last."""
    return row.nonce is None or trail is None or row.nonce in trail


def shares(tables: Tables, beat: Heartbeat) -> bool:
    """Return True if a heartbeat that did not count shows that two processes have its id."""
    row = tables.leases.get(beat.instance)
    if row is None or row.released or row.shared or row.nonce is None:
        return False
    if beat.counter == row.counter:
        return beat.nonce != row.nonce
    return beat.counter > row.counter and not follows(row, beat.trail)
