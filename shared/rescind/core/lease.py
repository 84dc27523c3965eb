"""A sidecar's right to answer from memory, and for how long (design 7).

The sidecar counts from before its heartbeat left, on CLOCK_BOOTTIME, and gives back a tenth of
the term: its clock may run up to 10 % slow (NTP may slew by 8.3 %). The authority waits longer
than any lease it may have granted, on CLOCK_MONOTONIC_RAW, after its COMMIT returned.
"""

from dataclasses import dataclass

from rescind.core.ledger import Position
from rescind.core.times import NS_PER_MS

MAX_TERM_MS = 86_400_000
"""A day: a longer term is a mistake, and no revocation could ever wait for it."""


@dataclass(frozen=True, slots=True)
class Lease:
    """What one heartbeat reply gave: valid until `ends_ns`, once `position` is applied."""

    position: Position
    ends_ns: int


def grant(position: Position, *, sent_ns: int, grant_term_ms: int) -> Lease:
    """Make the lease of a heartbeat whose bytes left after `sent_ns` (CLOCK_BOOTTIME)."""
    return Lease(position, sent_ns + grant_term_ms * NS_PER_MS * 9 // 10)


def longest_pause_s(grant_term_ms: int) -> float:
    """Return how long a sidecar may wait from one heartbeat to the next: a quarter of the term.

    So one heartbeat may be lost, and the next one be slow, before the lease ends.
    """
    return grant_term_ms / 4_000


def overdue(silent_ms: int, *, grant_term_ms: int) -> bool:
    """Return True if a sidecar that was silent for so long missed a heartbeat, or more."""
    return silent_ms > grant_term_ms // 2


def grace_wait_ns(grace_ns: int) -> int:
    """Return how much longer an instance with this grace may answer, in nanoseconds.

    Its clock may be 10 % slow, as for the term. So a fifth is added (design 7).
    """
    return grace_ns * 12 // 10


def wait_ns(wait_term_ms: int) -> int:
    """Return the time after COMMIT by which every lease granted before it has ended (Theorem 1)."""
    return wait_term_ms * NS_PER_MS * 102 // 100 + 50 * NS_PER_MS
