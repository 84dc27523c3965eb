"""The lease: a sidecar's right to answer from memory for a time (design 7).

The sidecar counts from before its heartbeat left, on CLOCK_BOOTTIME, and does not use a tenth of
the term: its clock may run up to 10 % slow (NTP may slew by 8.3 %). The authority waits longer
than any lease it may have granted, on CLOCK_MONOTONIC_RAW, after its COMMIT returned.
"""

from dataclasses import dataclass

from rescind.core.ledger import Position
from rescind.core.times import NS_PER_MS

MAX_TERM_MS = 86_400_000
"""A day. A longer term is a mistake: no revocation could wait for it."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The lease of one heartbeat reply, valid until `ends_ns` once `position` is applied."""

    position: Position
    ends_ns: int


def grant(position: Position, *, sent_ns: int, grant_term_ms: int) -> Lease:
    """Return the lease of a heartbeat whose bytes left after `sent_ns` (CLOCK_BOOTTIME)."""
    return Lease(position, sent_ns + grant_term_ms * NS_PER_MS * 9 // 10)


def longest_pause_s(grant_term_ms: int) -> float:
    """Return the longest time between two heartbeats, in seconds: a quarter of the term.

    So one heartbeat may be lost, and the next one slow, before the lease ends.
    """
    return grant_term_ms / 4_000


def overdue(silent_ms: int, *, grant_term_ms: int) -> bool:
    """Return True if a sidecar that was silent for this long missed at least one heartbeat."""
    return silent_ms > grant_term_ms // 2


def grace_wait_ns(grace_ns: int) -> int:
    """Return how much longer an instance with this grace may answer, in nanoseconds.

    A fifth is added, since the instance's clock may be 10 % slow, as for the term (design 7).
    """
    return grace_ns * 12 // 10


def wait_ns(wait_term_ms: int) -> int:
    """Return the time after COMMIT, in ns, by which every earlier lease has ended (Theorem 1)."""
    return wait_term_ms * NS_PER_MS * 102 // 100 + 50 * NS_PER_MS
