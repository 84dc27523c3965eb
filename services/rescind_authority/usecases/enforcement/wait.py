"""One wait for one revocation: which verifiers are still in danger of accepting what it hit.

Theorem 2 (design 7): of the lease rows read after the COMMIT, each must have acknowledged, have
been released, or have been watched unchanged for a full wait. Theorem 1: one full wait after the
COMMIT no lease is left that is ignorant of it, whatever the rows say. Pure: the caller reads
clocks, rows and acknowledgements.

A verifier in grace accepts for longer than any lease. It counts like the others if it says that it
knows; else the receipt does not wait for its grace, but names it (design 8). The rows of a restored
backup lack verifiers that began since: of those the receipt says until when one may be in grace.
"""

from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from heapq import nsmallest

from rescind.core import lease, posture
from rescind.core.receipt import EnforcingVerifier, Outcome, Receipt, VerifierInGrace
from rescind_authority.ports.leases import LeaseRow, WaitSnapshot

_NS_PER_US = 1_000
_MOST_NAMED = 20


@dataclass(frozen=True, slots=True)
class AwaitedEvent:
    """The event that is waited for. `committed_at_us` is the event's own time."""

    revocation_id: str
    epoch: int
    seq: int
    committed_at_us: int


def holds(target: AwaitedEvent, seen: WaitSnapshot) -> bool:
    """Return True if a snapshot saw the event committed."""
    return seen.held == (target.epoch, target.seq)


def lost(target: AwaitedEvent, seen: WaitSnapshot) -> bool:
    """Return True if a snapshot proves that a restore lost the event.

    Only a later epoch does. A server that does not know the event may be an old primary.
    """
    return seen.epoch > target.epoch and not holds(target, seen)


@dataclass(frozen=True, slots=True)
class Missing:
    """A verifier that is waited for; `silent_s` since its last heartbeat, None: not known."""

    instance: bytes
    service: str
    silent_s: float | None = None


@dataclass(frozen=True, slots=True)
class EnforcementProgress:
    """How far a wait has come; `lapse_in_s` is when the rest is over at the latest.

    `missing` are the first 20 of those that it waits for.
    """

    acknowledged: int
    released: int
    lapsed: int
    grace: int
    of: int
    lapse_in_s: float
    missing: tuple[Missing, ...] = ()


class EnforcementWait:
    """Decide when a revocation is enforced."""

    def __init__(
        self,
        target: AwaitedEvent,
        seen: WaitSnapshot,
        *,
        seen_ns: int,
        unchanged_since_ns: Mapping[bytes, int],
        rows_count: bool,
        unknown_until_ns: int | None = None,
        acknowledged_ns: Mapping[bytes, int] | None = None,
        complete: bool = False,
    ) -> None:
        """Begin with a snapshot that saw the event, read before `seen_ns` (CLOCK_MONOTONIC_RAW).

        `unchanged_since_ns` says since when each row has had the version that the snapshot shows.
        Without `rows_count` the rows may be those of a restored backup: only the full wait counts.
        Until `unknown_until_ns` a verifier that they lack may be in grace. Of those whose rows show
        the event already, `acknowledged_ns` says by when they had acknowledged it. `complete`: no
        row was swept away since the event, so that these are all that there is to wait for.
        """
        self.target = target
        self._seen_ns = seen_ns
        self._seen_at_us = seen.at_us
        self._epoch, self._seen_seq = seen.epoch, seen.seq
        self._wait_ns = lease.wait_ns(seen.wait_term_ms)
        self.ends_ns = seen_ns + self._wait_ns
        self._done: dict[bytes, EnforcingVerifier] = {}
        self._grace: dict[bytes, VerifierInGrace] = {}
        self._pending: dict[bytes, LeaseRow] = dict(seen.rows)
        self._rows_count = rows_count
        self._unknown_until_ns = unknown_until_ns
        self._acknowledged_ns = acknowledged_ns or {}
        self._last_ns: int | None = None
        self.rows(seen.rows, now_ns=seen_ns)
        if rows_count:
            for row in list(self._pending.values()):
                since_ns = unchanged_since_ns.get(row.instance)
                if since_ns is not None and seen_ns - since_ns >= self._wait_ns:
                    self._lapse(row, since_ns, seen_ns)
        settled = rows_count and not self._pending and not self._grace
        self._over_before = settled and complete and unknown_until_ns is None

    @property
    def pending(self) -> AbstractSet[bytes]:
        """The instances that are still waited for: a view, which changes as they settle."""
        return self._pending.keys()

    def counts(self, seen: WaitSnapshot) -> bool:
        """Return True if a later snapshot may settle anything.

        It has to hold the event, and to be no older than the first one. A server that was replaced,
        a standby and a restored ledger may show the rows of before the event.
        """
        return holds(self.target, seen) and seen.epoch == self._epoch and seen.seq >= self._seen_seq

    def rows(self, rows: Mapping[bytes, LeaseRow], *, now_ns: int) -> None:
        """Apply the rows as they are now: heartbeats and releases since the snapshot."""
        for instance in list(self._pending):
            row = rows.get(instance)
            if row is not None:
                self._pending[instance] = row
            if row is not None and row.shared:
                continue  # neither of its processes speaks for the other: their leases lapse
            if row is not None and self._knows(row):
                heard_ns = min(now_ns, self._acknowledged_ns.get(instance, now_ns))
                self._settle(row, Outcome.ACKNOWLEDGED, heard_ns)
            elif row is not None and row.released and self._rows_count:
                self._release(row, now_ns)
            # A row that is missing says nothing: it may be swept, or not have come to this server
            # yet. Its instance lapses with the full wait.

    def _knows(self, row: LeaseRow) -> bool:
        """Return True if a row acknowledges the event.

        Only an instance of the event's epoch can.
        """
        return row.epoch == self.target.epoch and row.acked_seq >= self.target.seq

    def acknowledged(
        self, instance: bytes, *, heard_ns: int, nonces: Collection[bytes] = ()
    ) -> None:
        """Count an acknowledgement of this event or a later one, with the ledger's own head.

        It counts only from the process that sent the last heartbeat which counted: `nonces` are of
        those that it sent. A copy of it, made before, has the lease that was good then at the most.
        """
        row = self._pending.get(instance)
        if row is None or row.shared or not (row.nonce is None or row.nonce in nonces):
            return
        self._settle(row, Outcome.ACKNOWLEDGED, heard_ns)

    def over(self, now_ns: int) -> bool:
        """Return True if the event is enforced.

        The remaining instances lapse when the full wait has passed.
        """
        if self._pending and now_ns >= self.ends_ns:
            for row in list(self._pending.values()):
                self._lapse(row, self._seen_ns, now_ns)
        if self._rows_count:
            return not self._pending
        return now_ns >= self.ends_ns

    def _lapse(self, row: LeaseRow, since_ns: int, now_ns: int) -> None:
        """Count an instance out that has said nothing since; in grace, from the end of that on."""
        grace_ns = lease.grace_wait_ns(posture.longest_ns(row.posture))
        ends_ns = since_ns + self._wait_ns + grace_ns
        if now_ns >= ends_ns:
            if self._at_us(ends_ns) > self.target.committed_at_us:
                self._settle(row, Outcome.LAPSED, ends_ns)
            else:
                del self._pending[row.instance]  # it ended before the event
            return
        del self._pending[row.instance]
        self._grace[row.instance] = VerifierInGrace(row.instance, row.service, self._at_us(ends_ns))

    def _release(self, row: LeaseRow, now_ns: int) -> None:
        """Count an instance that gave itself up; one that did before the event is left out."""
        if row.released_us is None:
            self._settle(row, Outcome.RELEASED, now_ns)
        elif row.released_us > self.target.committed_at_us:
            ago_ns = (self._seen_at_us - row.released_us) * _NS_PER_US
            self._settle(row, Outcome.RELEASED, min(now_ns, self._seen_ns - ago_ns))
        else:
            del self._pending[row.instance]

    def _settle(self, row: LeaseRow, outcome: Outcome, at_ns: int) -> None:
        del self._pending[row.instance]
        self._last_ns = at_ns if self._last_ns is None else max(self._last_ns, at_ns)
        latency_us = max(0, self._at_us(at_ns) - self.target.committed_at_us)
        self._done[row.instance] = EnforcingVerifier(row.instance, row.service, outcome, latency_us)

    def _at_us(self, at_ns: int) -> int:
        return self._seen_at_us + (at_ns - self._seen_ns) // _NS_PER_US

    def progress(self, now_ns: int) -> EnforcementProgress:
        """Report how far the wait has come."""
        outcomes = [each.outcome for each in self._done.values()]
        return EnforcementProgress(
            acknowledged=outcomes.count(Outcome.ACKNOWLEDGED),
            released=outcomes.count(Outcome.RELEASED),
            lapsed=outcomes.count(Outcome.LAPSED),
            grace=len(self._grace),
            of=len(self._done) + len(self._pending) + len(self._grace),
            lapse_in_s=max(0, self.ends_ns - now_ns) / 1e9,
            missing=tuple(
                Missing(each.instance, each.service)
                for each in nsmallest(_MOST_NAMED, self._pending.values(), key=_place)
            ),
        )

    def receipt(self, now_ns: int) -> Receipt:
        """Write the receipt of a wait that is over.

        Where all of it had come to its end before the wait began, that is when it was enforced: no
        row that the event had to wait for is missing.
        """
        enforced_at_us = self._at_us(now_ns)
        if self._over_before:
            last_us = 0 if self._last_ns is None else self._at_us(self._last_ns)
            enforced_at_us = max(self.target.committed_at_us, last_us)
        done = sorted(self._done.values(), key=_place)
        unknown_ns = self._unknown_until_ns
        if unknown_ns is not None and now_ns >= unknown_ns:
            unknown_ns = None
        return Receipt(
            revocation_id=self.target.revocation_id,
            epoch=self.target.epoch,
            seq=self.target.seq,
            committed_at_us=self.target.committed_at_us,
            enforced_at_us=enforced_at_us,
            verifiers=tuple(done),
            grace=tuple(sorted(self._grace.values(), key=_place)),
            unknown_grace_until_us=None if unknown_ns is None else self._at_us(unknown_ns),
        )


def _place(each: EnforcingVerifier | VerifierInGrace | LeaseRow) -> tuple[str, bytes]:
    return each.service, each.instance
