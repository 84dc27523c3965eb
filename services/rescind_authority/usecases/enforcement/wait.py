"""One wait for one revocation: which verifiers may still accept the tokens that it hit.

Theorem 2 (design 7): each instance with a lease row that was read after the COMMIT must have
acknowledged the event, have been released, or have kept an unchanged row for a full wait. Theorem
1: one full wait after the COMMIT, no lease that lacks the event is still valid, whatever the rows
contain. This module is pure: the caller reads clocks, rows and acknowledgements.

A verifier in grace accepts tokens for longer than any lease. If it acknowledges the event, it
counts like the others. Otherwise the receipt does not wait for its grace, but names it (design 8).
The rows of a restored backup lack the verifiers that started after the backup. For these, the
receipt states until when one of them may be in grace.
"""

from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from heapq import nsmallest

from rescind.core import lease, posture
from rescind.core.receipt import EnforcingVerifier, Outcome, Receipt, VerifierInGrace
from rescind_authority.ports.leases import LeaseRow, WaitSnapshot
from rescind_authority.ports.ledger import CommittedEvent

_NS_PER_US = 1_000
_MAX_LISTED = 20


def is_committed(target: CommittedEvent, seen: WaitSnapshot) -> bool:
    """Return True if a snapshot saw the event committed."""
    return seen.last_event == (target.epoch, target.seq)


def is_lost(target: CommittedEvent, seen: WaitSnapshot) -> bool:
    """Return True if a snapshot proves that a restore lost the event.

    Only a later epoch proves it. A server without the event may be an old primary.
    """
    return seen.epoch > target.epoch and not is_committed(target, seen)


@dataclass(frozen=True, slots=True)
class Missing:
    """A verifier that a wait still waits for.

    `silent_s` is the time since its last heartbeat in seconds, or None if it is unknown.
    """

    instance: bytes
    service: str
    silent_s: float | None = None


@dataclass(frozen=True, slots=True)
class EnforcementProgress:
    """The progress of a wait.

    `lapse_in_s` is the time in seconds after which the pending verifiers lapse at the latest.
    `missing` contains the first 20 pending verifiers.
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
        target: CommittedEvent,
        seen: WaitSnapshot,
        *,
        seen_ns: int,
        unchanged_since_ns: Mapping[bytes, int],
        rows_are_current: bool,
        unknown_until_ns: int | None = None,
        acknowledged_ns: Mapping[bytes, int] | None = None,
        complete: bool = False,
    ) -> None:
        """Start with a snapshot that saw the event, read before `seen_ns` (CLOCK_MONOTONIC_RAW).

        `unchanged_since_ns` is the time since which a row has had the version in the snapshot.
        Unless `rows_are_current`, the rows may be those of a restored backup, and only the full
        wait counts. Until `unknown_until_ns`, a verifier without a row may be in grace. For
        instances whose rows already show the event, `acknowledged_ns` is the time by which they had
        acknowledged it. `complete` means that no row was deleted since the event, so that the
        snapshot contains every instance to wait for.
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
        self._rows_are_current = rows_are_current
        self._unknown_until_ns = unknown_until_ns
        self._acknowledged_ns = acknowledged_ns or {}
        self._last_ns: int | None = None
        self.apply_rows(seen.rows, now_ns=seen_ns)
        if rows_are_current:
            self._lapse_unchanged(unchanged_since_ns)
        settled = rows_are_current and not self._pending and not self._grace
        self._over_before = settled and complete and unknown_until_ns is None

    def _lapse_unchanged(self, since_ns: Mapping[bytes, int]) -> None:
        """Settle the instances whose rows had not changed for a full wait before the snapshot."""
        for row in list(self._pending.values()):
            unchanged_ns = since_ns.get(row.instance)
            if unchanged_ns is not None and self._seen_ns - unchanged_ns >= self._wait_ns:
                self._lapse(row, unchanged_ns, self._seen_ns)

    @property
    def pending(self) -> AbstractSet[bytes]:
        """Return the pending instances: a view, which changes as they settle."""
        return self._pending.keys()

    def may_settle(self, seen: WaitSnapshot) -> bool:
        """Return True if a later snapshot may settle instances.

        It must contain the event, and must not be older than the first snapshot. A replaced server,
        a standby and a restored ledger may show rows from before the event.
        """
        return (
            is_committed(self.target, seen)
            and seen.epoch == self._epoch
            and seen.seq >= self._seen_seq
        )

    def apply_rows(self, rows: Mapping[bytes, LeaseRow], *, now_ns: int) -> None:
        """Apply the current rows: heartbeats and releases since the snapshot."""
        for instance in list(self._pending):
            row = rows.get(instance)
            if row is not None:
                self._pending[instance] = row
            if row is not None and row.shared:
                continue  # neither process can acknowledge for the other: their leases lapse
            if row is not None and self._is_acknowledged_by(row):
                received_ns = min(now_ns, self._acknowledged_ns.get(instance, now_ns))
                self._settle(row, Outcome.ACKNOWLEDGED, received_ns)
            elif row is not None and row.released and self._rows_are_current:
                self._release(row, now_ns)
            # A missing row proves nothing: it may be deleted, or not have reached this server yet.
            # Its instance lapses with the full wait.

    def _is_acknowledged_by(self, row: LeaseRow) -> bool:
        """Return True if a row acknowledges the event.

        Only an instance of the event's epoch can acknowledge it.
        """
        return row.epoch == self.target.epoch and row.acked_seq >= self.target.seq

    def acknowledge(
        self, instance: bytes, *, received_ns: int, nonces: Collection[bytes] = ()
    ) -> None:
        """Count an acknowledgement of this event or a later one, with the ledger's own head.

        It counts only if its sender also sent the last heartbeat that counted: `nonces` are those
        of the heartbeats that the sender sent. An earlier copy of the sender has at most the lease
        that was valid when the copy was made.
        """
        row = self._pending.get(instance)
        if row is None or row.shared or not (row.nonce is None or row.nonce in nonces):
            return
        self._settle(row, Outcome.ACKNOWLEDGED, received_ns)

    def is_over(self, now_ns: int) -> bool:
        """Return True if the event is enforced.

        The remaining instances lapse when the full wait has passed.
        """
        if self._pending and now_ns >= self.ends_ns:
            for row in list(self._pending.values()):
                self._lapse(row, self._seen_ns, now_ns)
        if self._rows_are_current:
            return not self._pending
        return now_ns >= self.ends_ns

    def _lapse(self, row: LeaseRow, since_ns: int, now_ns: int) -> None:
        """Settle an instance without a heartbeat since `since_ns`.

        It has lapsed if its lease and its grace have ended. Otherwise it is in grace, from the end
        of the lease on.
        """
        grace_ns = lease.grace_wait_ns(posture.assumed_grace_ns(row.posture))
        ends_ns = since_ns + self._wait_ns + grace_ns
        if now_ns >= ends_ns:
            if self._at_us(ends_ns) > self.target.at_us:
                self._settle(row, Outcome.LAPSED, ends_ns)
            else:
                del self._pending[row.instance]  # it ended before the event
            return
        del self._pending[row.instance]
        self._grace[row.instance] = VerifierInGrace(row.instance, row.service, self._at_us(ends_ns))

    def _release(self, row: LeaseRow, now_ns: int) -> None:
        """Count a released instance; leave it out if the release was before the event."""
        if row.released_us is None:
            self._settle(row, Outcome.RELEASED, now_ns)
        elif row.released_us > self.target.at_us:
            ago_ns = (self._seen_at_us - row.released_us) * _NS_PER_US
            self._settle(row, Outcome.RELEASED, min(now_ns, self._seen_ns - ago_ns))
        else:
            del self._pending[row.instance]

    def _settle(self, row: LeaseRow, outcome: Outcome, at_ns: int) -> None:
        del self._pending[row.instance]
        self._last_ns = at_ns if self._last_ns is None else max(self._last_ns, at_ns)
        latency_us = max(0, self._at_us(at_ns) - self.target.at_us)
        self._done[row.instance] = EnforcingVerifier(row.instance, row.service, outcome, latency_us)

    def _at_us(self, at_ns: int) -> int:
        return self._seen_at_us + (at_ns - self._seen_ns) // _NS_PER_US

    def progress(self, now_ns: int) -> EnforcementProgress:
        """Return the progress of the wait."""
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
                for each in nsmallest(_MAX_LISTED, self._pending.values(), key=_place)
            ),
        )

    def receipt(self, now_ns: int) -> Receipt:
        """Return the receipt of a wait that is over.

        If every instance had settled before the wait began, and no row that counts is missing, the
        event was enforced when the last of them settled.
        """
        enforced_at_us = self._at_us(now_ns)
        if self._over_before:
            last_us = 0 if self._last_ns is None else self._at_us(self._last_ns)
            enforced_at_us = max(self.target.at_us, last_us)
        done = sorted(self._done.values(), key=_place)
        unknown_ns = self._unknown_until_ns
        if unknown_ns is not None and now_ns >= unknown_ns:
            unknown_ns = None
        return Receipt(
            revocation_id=self.target.revocation_id,
            epoch=self.target.epoch,
            seq=self.target.seq,
            committed_at_us=self.target.at_us,
            enforced_at_us=enforced_at_us,
            verifiers=tuple(done),
            grace=tuple(sorted(self._grace.values(), key=_place)),
            unknown_grace_until_us=None if unknown_ns is None else self._at_us(unknown_ns),
        )


def _place(each: EnforcingVerifier | VerifierInGrace | LeaseRow) -> tuple[str, bytes]:
    return each.service, each.instance
