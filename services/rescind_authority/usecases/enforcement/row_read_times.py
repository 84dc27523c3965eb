"""The times at which acknowledgements were first read from the lease rows.

Receipts that are requested later use these times. An authority reads all rows each second. A
recorded time is never earlier than the acknowledgement, and at most a second later. All times are
of one Postgres server: times of another server, which may be an old primary, are dropped. They are
kept in memory only, and nothing waits for them.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from rescind_authority.ports.leases import LeaseRow, WaitSnapshot

_MOST = 200_000
_MAX_PER_KIND, _LEAST_EACH = 64, 4
_MAX_ENDS = 4_096
_SWEPT_LATER_NS = 1_800 * 10**9
"""Half of the hour after which a silent row may be deleted: a margin for clocks and slow reads."""


@dataclass(frozen=True, slots=True)
class _Reading:
    epoch: int
    seq: int
    at_ns: int


class RowReadTimes:
    """A record of the rows as they are read. Times are CLOCK_MONOTONIC_RAW, after the read."""

    def __init__(self) -> None:
        self._server: int | None = None
        self._acknowledged: dict[bytes, deque[_Reading]] = {}
        self._ends: deque[_Reading] = deque(maxlen=_MAX_ENDS)

    def record(self, seen: WaitSnapshot, at_ns: int) -> None:
        """Record the ledger's end, and the acknowledged seq of each instance."""
        if seen.server != self._server:
            self._server = seen.server
            self._acknowledged.clear()
            self._ends.clear()
        if not self._ends or (self._ends[-1].epoch, self._ends[-1].seq) < (seen.epoch, seen.seq):
            self._ends.append(_Reading(seen.epoch, seen.seq, at_ns))
        elif (self._ends[-1].epoch, self._ends[-1].seq) == (seen.epoch, seen.seq):
            self._ends[-1] = _Reading(seen.epoch, seen.seq, at_ns)
        each = max(_LEAST_EACH, min(_MAX_PER_KIND, _MOST // max(1, len(seen.rows))))
        for instance, row in seen.rows.items():
            if row.epoch is None:
                continue
            readings = self._acknowledged.setdefault(instance, deque())
            if not readings or (readings[-1].epoch, readings[-1].seq) < (row.epoch, row.acked_seq):
                readings.append(_Reading(row.epoch, row.acked_seq, at_ns))
                while len(readings) > each:
                    readings.popleft()
        for gone in self._acknowledged.keys() - seen.rows.keys():
            del self._acknowledged[gone]

    def acknowledged(
        self, rows: Mapping[bytes, LeaseRow], *, epoch: int, seq: int
    ) -> dict[bytes, int]:
        """Return the time by which each instance had acknowledged an event.

        Instances without a recorded acknowledgement of it are left out.
        """
        found: dict[bytes, int] = {}
        for instance, row in rows.items():
            if row.epoch != epoch or row.acked_seq < seq:
                continue
            for reading in self._acknowledged.get(instance, ()):
                if reading.epoch == epoch and reading.seq >= seq:
                    found[instance] = reading.at_ns
                    break
        return found

    def complete(self, *, epoch: int, seq: int, now_ns: int) -> bool:
        """Return True if no row can have been deleted since an event was committed."""
        before = [each for each in self._ends if each.epoch == epoch and each.seq < seq]
        return bool(before) and now_ns - before[-1].at_ns < _SWEPT_LATER_NS
