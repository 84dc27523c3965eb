"""The lease rows, as this process has read them over time (design 4, design 7).

An instance whose row does not change for a full wait has lapsed. The authority reads all rows once
a second, so that a wait that begins later knows for how long each row has not changed.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace

from rescind.core import lease, posture
from rescind.errors import RescindError
from rescind_authority.ports.clock import Clock
from rescind_authority.ports.leases import Receipts, WaitSnapshot
from rescind_authority.usecases.enforcement.row_read_times import RowReadTimes

_WATCH_S = 1.0
_SILENT_NS = 3_600 * 10**9
_NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class _Watched:
    """A version of a row, and since when this process has read it."""

    version: int
    since_ns: int
    grace_ns: int
    ended: bool


@dataclass(frozen=True, slots=True)
class _Epoch:
    """An epoch, when this process first read it, and the longest wait since then."""

    number: int
    since_ns: int
    wait_ns: int


class LeaseRowWatch:
    """Watch the lease rows, delete the ended ones, and settle epochs. Times are of `clock`."""

    def __init__(self, receipts: Receipts, clock: Clock) -> None:
        self._receipts = receipts
        self._clock = clock
        self._watched: dict[bytes, _Watched] = {}
        self._epoch: _Epoch | None = None
        self._furthest = (0, 0)
        self._wait_ns = 0
        self.read_times = RowReadTimes()

    @property
    def silent(self) -> int:
        """Return the number of instances without a heartbeat for a full wait.

        Instances that were released or evicted, or whose id two processes share, do not count.
        """
        now_ns = self._clock.monotonic_raw_ns()
        return sum(
            now_ns - each.since_ns >= self._wait_ns and not each.ended
            for each in self._watched.values()
        )

    def silent_s(self, instance: bytes, now_ns: int) -> float | None:
        """Return the seconds since an instance's last heartbeat, or None if it is not known."""
        watched = self._watched.get(instance)
        return None if watched is None else (now_ns - watched.since_ns) / 1e9

    def unchanged_since_ns(self, seen: WaitSnapshot) -> dict[bytes, int]:
        """Return the time since which each row has had the version in a snapshot."""
        return {
            instance: watched.since_ns
            for instance, watched in self._watched.items()
            if (row := seen.rows.get(instance)) and row.version == watched.version
        }

    async def run(self) -> None:
        """Read the lease rows once a second, until cancelled."""
        while True:
            with suppress(RescindError):
                # Read the clock after the rows: a version is watched from a time when it certainly
                # existed.
                seen = await self._receipts.waiting()
                self.record(seen, self._clock.monotonic_raw_ns())
                self._wait_ns = lease.wait_ns(seen.wait_term_ms)
                await self._delete_ended(self._wait_ns)
                await self._settle_epoch(seen)
            await asyncio.sleep(_WATCH_S)

    async def _delete_ended(self, wait_ns: int) -> None:
        """Delete instances without a heartbeat for an hour, and for longer than lease and grace."""
        now_ns = self._clock.monotonic_raw_ns()
        silent = {
            instance: watched.version
            for instance, watched in self._watched.items()
            if now_ns - watched.since_ns >= max(_SILENT_NS, wait_ns + watched.grace_ns)
        }
        if silent:
            await self._receipts.delete_ended(silent)

    def record(self, seen: WaitSnapshot, now_ns: int) -> None:
        """Record the rows of a snapshot that was read before `now_ns`."""
        if (seen.epoch, seen.seq) < self._furthest:
            return  # an old server, on which no row changes
        self._furthest = seen.epoch, seen.seq
        self.read_times.record(seen, now_ns)
        known, self._watched = self._watched, {}
        for instance, row in seen.rows.items():
            watched = known.get(instance)
            if watched is None or watched.version != row.version:
                grace_ns = lease.grace_wait_ns(posture.assumed_grace_ns(row.posture))
                ended = row.released or row.shared
                watched = _Watched(row.version, now_ns, grace_ns, ended)
            self._watched[instance] = watched
        wait_ns = lease.wait_ns(seen.wait_term_ms)
        if self._epoch is None or self._epoch.number != seen.epoch:
            self._epoch = _Epoch(seen.epoch, now_ns, wait_ns)
        elif self._epoch.wait_ns < wait_ns:
            self._epoch = replace(self._epoch, wait_ns=wait_ns)

    def rows_are_current(self, seen: WaitSnapshot, now_ns: int) -> bool:
        """Return True if the rows can be those of this ledger.

        A restored backup brings old rows. For one full wait after an epoch began, receipts rest on
        Theorem 1 alone (design 4).
        """
        if seen.epoch == 1 or self._epoch is None:
            return True
        return now_ns - self._epoch.since_ns >= lease.wait_ns(seen.wait_term_ms)

    def unknown_until_ns(self, seen: WaitSnapshot) -> int | None:
        """Return until when a verifier that the rows lack may be in grace, or None.

        None means that no such verifier exists. The last lease of another epoch was requested
        before this epoch began, and so before this process first read the epoch. The time counts
        from that read by the clock of this process, because Postgres's clock may be set, and the
        times of an earlier authority are not kept. So each restart of an authority starts the count
        again, until one authority has counted to the end and stored that with the epoch.
        """
        if seen.unknown_grace_ms is None or self._epoch is None:
            return None
        known_ns = max((watched.grace_ns for watched in self._watched.values()), default=0)
        unknown_ns = lease.grace_wait_ns(seen.unknown_grace_ms * _NS_PER_MS)
        return self._epoch.since_ns + self._epoch.wait_ns + max(known_ns, unknown_ns)

    async def _settle_epoch(self, seen: WaitSnapshot) -> None:
        """Store that no unknown verifier is in grace any more, once that is certain."""
        until_ns = self.unknown_until_ns(seen)
        if until_ns is not None and self._clock.monotonic_raw_ns() >= until_ns:
            await self._receipts.settle_epoch(seen.epoch)
