"""One instance's view of the ledger: its applied position, and the records valid at that position.

The rules of this file:

* `applied` moves only by applying every event in turn. Anything else that would move it ends the
  instance: the result is `Diverged`, and the caller begins a new, empty instance.
* Applying an event appends to the ring, bumps the table, moves `applied`, and only then proves the
  leases that waited for it. The deadlines move last.
* A record is accepted only if no event between its `as_of` and `applied` hits it.
* No record is stored before the first lease. A refused message changes nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from rescind.core import lease, verdict
from rescind.core.generation_table import Writer, slots_of
from rescind.core.ledger import Position
from rescind.core.revocation import Event
from rescind.core.token_format import REUSE_LEEWAY_US, Kind
from rescind.errors import MalformedMessageError
from rescind.wire import events, heartbeat, records
from rescind_sidecar.view.authority_clock import AuthorityTime
from rescind_sidecar.view.leases import Leases
from rescind_sidecar.view.record_cache import CAPACITY as RECORDS_CAPACITY
from rescind_sidecar.view.record_cache import CachedRecord, RecordCache, Window
from rescind_sidecar.view.ring import CAPACITY as RING_CAPACITY
from rescind_sidecar.view.ring import Ring

WINDOW_NS = 300 * 10**9
"""The time for which the decision about a record's times is used before it is made again.

So a step of the authority's clock takes effect. The error of a local clock that is outside the
assumed bounds is limited, too: where it is 20 % slow, a token ends at most 42 s late.
"""

_MARGIN_US = 1_000_000  # by which two readings of the authority's time may differ


@dataclass(frozen=True, slots=True)
class Current:
    """No event is known to be missing."""


@dataclass(frozen=True, slots=True)
class Behind:
    """Events after this position exist and have not arrived."""

    since: heartbeat.Since


@dataclass(frozen=True, slots=True)
class RefusedMessage:
    """The message is not valid, and changed nothing."""

    why: str


@dataclass(frozen=True, slots=True)
class Diverged:
    """The ledger is not the one that this instance followed; the instance must end."""

    why: str


Progress = Current | Behind | RefusedMessage | Diverged


@dataclass(frozen=True, slots=True)
class Stale:
    """The record may have been hit after it was read; request it again, from the authority."""


class View:
    """Decide which tokens are valid, at a position of the ledger that moves with the events."""

    def __init__(
        self,
        table: Writer,
        *,
        ring_capacity: int = RING_CAPACITY,
        records_capacity: int = RECORDS_CAPACITY,
        time: AuthorityTime | None = None,
    ) -> None:
        """Begin with no lease and no records. `time` is the previous instance's, or None."""
        self.table = table
        self.leases = Leases()
        self.records = RecordCache(capacity=records_capacity)
        self.applied: Position | None = None
        self._ring_capacity = ring_capacity
        self._ring = Ring(Position(0, 0, b""), capacity=ring_capacity)
        self.time = time

    def leased(self, now_ns: int) -> bool:
        """Return True if the instance holds a lease now."""
        return now_ns < self.leases.ends_ns

    def answers_for(self, kind: Kind, now_ns: int) -> bool:
        """Return True if memory may answer for a kind of token, by a lease or in grace.

        Grace extends a lease that was held: an instance that never had a lease has no grace.
        """
        ends_ns = self.leases.ends_ns
        return ends_ns > 0 and now_ns < ends_ns + self.table.posture.grace_ns(kind)

    def reached(self, seq: int) -> bool:
        """Return True if every event up to this position is applied."""
        return self.applied is not None and self.applied.seq >= seq

    # The ledger -------------------------------------------------------------------------------

    def accept_lease(
        self,
        reply: heartbeat.Reply,
        *,
        carried: Position | None,
        sent_ns: int,
        received_ns: int,
    ) -> Progress:
        """Apply a reply to a heartbeat of this instance.

        `carried` is the position `applied` in that heartbeat. `sent_ns` and `received_ns` are
        CLOCK_BOOTTIME before the heartbeat left and after the reply arrived.
        """
        position = reply.position
        if self.applied is None and reply.payloads:
            return RefusedMessage(
                "a first reply with events: there is nothing that they could follow"
            )
        if self.applied is None:
            self._adopt(position)
        problem = self._find_contradiction(position, carried)
        if problem is not None:
            return Diverged(problem)
        progress = self._follow(reply.payloads)
        if isinstance(progress, (RefusedMessage, Diverged)):
            return progress
        self.time = AuthorityTime.learned(
            reply.authority_us, sent_ns=sent_ns, received_ns=received_ns, before=self.time
        )
        return self._apply_lease(
            lease.grant(position, sent_ns=sent_ns, grant_term_ms=reply.grant_term_ms)
        )

    def _adopt(self, position: Position) -> None:
        self.applied = position
        self._ring = Ring(position, capacity=self._ring_capacity)
        self.table.start_at(position.seq)

    def _find_contradiction(self, position: Position, carried: Position | None) -> str | None:
        applied = self._require_position()
        if position.epoch != applied.epoch:
            return f"epoch {position.epoch} in place of {applied.epoch}"
        # A push may overtake a reply. But a reply is never older than its own heartbeat.
        if carried is not None and position.seq < carried.seq:
            return f"the ledger is at {position.seq}, after it was at {carried.seq}"
        if position.seq - applied.seq > self._ring_capacity:
            return f"{position.seq - applied.seq} events behind, too many to follow"
        return None

    def _apply_lease(self, granted: lease.Lease) -> Progress:
        applied = self._require_position()
        if granted.position.seq > applied.seq:
            self.leases.wait(granted)
            return self._report_gap()
        head = self._ring.head_at(granted.position.seq)
        if head is None:
            return Current()  # the lease is older than the ring: it proves nothing, and is harmless
        if head != granted.position.head:
            return Diverged(f"another history at {granted.position.seq}")
        self.leases.prove(granted)
        self.table.extend(self.leases.ends_ns)
        return self._report_progress()

    def apply_push(self, batch: events.Batch) -> Progress:
        """Apply a batch of events that arrived over NATS."""
        if self.applied is None:
            return Current()  # the first lease reply contains the position to begin at
        if batch.epoch != self.applied.epoch:
            return RefusedMessage(f"epoch {batch.epoch} in place of {self.applied.epoch}")
        if batch.first_seq > self.applied.seq + 1:
            return self._report_gap()
        if batch.first_seq == self.applied.seq + 1 and batch.before != self.applied.head:
            return RefusedMessage("a batch of another history")
        return self._follow(batch.payloads, after=batch.after)

    def apply_repair(self, missing: heartbeat.Events) -> Progress:
        """Apply the answer to a request for missing events."""
        applied = self._require_position()
        if missing.epoch != applied.epoch:
            return RefusedMessage(f"epoch {missing.epoch} in place of {applied.epoch}")
        return self._follow(missing.payloads)

    def _follow(self, payloads: Iterable[bytes], *, after: bytes | None = None) -> Progress:
        """Check every event, then apply them all: a refused message changes nothing."""
        position = self._require_position()
        steps: list[tuple[Event, Position]] = []
        for payload in payloads:
            try:
                event = events.decode(payload)
            except MalformedMessageError as error:
                return RefusedMessage(str(error))
            if event.epoch == position.epoch and event.seq <= position.seq:
                continue  # applied already
            if (event.epoch, event.seq) != (position.epoch, position.seq + 1):
                return RefusedMessage(f"event {event.epoch}.{event.seq} after {position.seq}")
            position = position.after(payload)
            steps.append((event, position))
        if steps and after is not None and after != position.head:
            return RefusedMessage("a batch that does not lead to its own head")
        for event, reached in steps:
            if not self._apply(event, reached):
                return Diverged(f"another history at {reached.seq}")
        return self._report_progress()

    def _apply(self, event: Event, position: Position) -> bool:
        selector = event.revocation.selector
        self._ring.append(selector, position)
        self.table.bump(selector.anchor, applied=position.seq)
        self.applied = position
        ends_ns = self.leases.ends_ns
        agrees = self.leases.reached(position)
        if agrees and self.leases.ends_ns != ends_ns:
            # Deadlines move after the slots: a check that reads the new lease sees this event too.
            self.table.extend(self.leases.ends_ns)
        return agrees

    def _report_progress(self) -> Progress:
        return Current() if self.leases.awaited_seq is None else self._report_gap()

    def _report_gap(self) -> Behind:
        applied = self._require_position()
        return Behind(heartbeat.Since(applied.epoch, applied.seq))

    def _require_position(self) -> Position:
        assert self.applied is not None  # noqa: S101 a caller that asks before the first lease has a bug
        return self.applied

    def age_us(self, at_us: int, now_ns: int) -> int | None:
        """Return the age of a time of the authority, in µs; None before the first lease."""
        return None if self.time is None else self.time.since_us(at_us, now_ns)

    def report_due(self, cached: CachedRecord, now_ns: int) -> bool:
        """Return True if a report is due to the authority that this ended token is presented."""
        reuse_us = cached.record.expires_at_us + REUSE_LEEWAY_US + _MARGIN_US
        reuse_ns = 0 if self.time is None else self.time.after_ns(reuse_us)
        return cached.report_due(now_ns, reuse_ns=reuse_ns)

    # The records ------------------------------------------------------------------------------

    def find(self, token_hash: bytes) -> CachedRecord | None:
        """Return a record that no applied event has hit, or None."""
        cached = self.records.get(token_hash)
        if cached is None or self._is_valid(cached):
            return cached
        self.records.drop(token_hash)
        return None

    def fill(self, token_hash: bytes, payload: bytes) -> CachedRecord | Stale | RefusedMessage:
        """Store a fetched record, if it belongs to this token and no applied event hits it."""
        if self.applied is None:
            return Stale()
        try:
            record = records.decode(payload)
        except MalformedMessageError as error:
            return RefusedMessage(str(error))
        if record.token_hash != token_hash:
            return RefusedMessage("the record of another token")
        if record.epoch != self.applied.epoch:
            return Stale()
        slots = slots_of(record.handles, self.table.slots)
        cached = CachedRecord(record, payload, slots, record.as_of)
        if not self._is_valid(cached):
            return Stale()
        self.records.put(cached)
        return cached

    def _is_valid(self, cached: CachedRecord) -> bool:
        applied = self._require_position().seq
        if cached.valid_at < applied:
            # The set is not stored: it would take a quarter of the memory of all records.
            if self._ring.hit_since(frozenset(cached.record.handles), cached.valid_at):
                return False
            cached.valid_at = applied
        return True

    def judge(self, cached: CachedRecord, now_ns: int) -> Window | verdict.Denied:
        """Check revocations and times; return the window in which the result holds."""
        window = cached.window
        if window is not None and window.not_before_ns <= now_ns < window.until_ns:
            return window
        denial = verdict.judge_state(cached.record)
        if denial is not None:
            return denial
        time = self.time
        if time is None:
            return verdict.Denied(verdict.Reason.NO_LEASE)
        record = cached.record
        denial = verdict.timely(
            record, earliest_us=time.earliest_us(now_ns), latest_us=time.latest_us(now_ns)
        )
        if denial is not None:
            return denial
        cached.window = Window(
            not_before_ns=max(0, time.after_ns(record.not_before_us)),
            until_ns=min(time.before_ns(record.expires_at_us), now_ns + WINDOW_NS),
        )
        return cached.window
