"""The leases of one instance: proven leases, and leases whose events are not applied yet.

One valid lease is enough. A newer lease whose events are not applied yet never replaces an older
valid one: that would stop a verifier that works correctly (design 7).
"""

from rescind.core.lease import Lease
from rescind.core.ledger import Position

_MAX_WAITING = 16


class Leases:
    """Store until when the instance may answer, in CLOCK_BOOTTIME nanoseconds."""

    def __init__(self) -> None:
        self.ends_ns = 0
        self._waiting: list[Lease] = []

    def prove(self, lease: Lease) -> None:
        """Adopt a lease whose position is applied here, with the same head."""
        self.ends_ns = max(self.ends_ns, lease.ends_ns)

    def wait(self, lease: Lease) -> None:
        """Store a lease until its position is applied.

        Above 16 waiting leases, the one that ends first is dropped.
        """
        self._waiting.append(lease)
        self._waiting.sort(key=lambda waiting: waiting.position.seq)
        if len(self._waiting) > _MAX_WAITING:
            self._waiting.remove(min(self._waiting, key=lambda waiting: waiting.ends_ns))

    @property
    def awaited_seq(self) -> int | None:
        """Return the highest seq that a waiting lease needs, or None."""
        return self._waiting[-1].position.seq if self._waiting else None

    def reached(self, position: Position) -> bool:
        """Prove the leases of this position. Return False if one of them has another head there."""
        while self._waiting and self._waiting[0].position.seq <= position.seq:
            lease = self._waiting.pop(0)
            if lease.position != position:
                return False
            self.prove(lease)
        return True
