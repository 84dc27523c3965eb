"""The end of a sidecar's lease: in its table, or computed from its answers without a table.

A mapped table shows the end of the lease to every process, even if the sidecar has stopped. Without
a table, a client computes it from the last answers. Each contains the rest of the lease, which is
counted from before the request left (CLOCK_BOOTTIME). So the computed end is never later than the
sidecar's own.
"""

from dataclasses import dataclass, field

from rescind.core.verdict import Allowed


class LeaseEnd:
    """The end of an instance's lease, computed from its answers at one position of the ledger.

    All verdicts that were confirmed at this position share it: an answer about one token moves the
    end for all of them. An answer at a later position does not, since an event between may have hit
    them. `ends_ns` (CLOCK_BOOTTIME) is 0 until an answer contains a lease.
    """

    __slots__ = ("as_of", "ends_ns", "instance")

    def __init__(self, instance: bytes, as_of: int, ends_ns: int) -> None:
        self.instance = instance
        self.as_of = as_of
        self.ends_ns = ends_ns


@dataclass(frozen=True, slots=True, eq=False)
class LeasedVerdict(Allowed):
    """A verdict that the sidecar sent, and the end of the lease under which it holds.

    `token_until_ns` (CLOCK_BOOTTIME) is when the token's own times have to be checked again; None
    from an older sidecar, which does not send it.
    """

    lease_end: LeaseEnd = field(repr=False)
    grace_ns: int = field(repr=False)
    token_until_ns: int | None = field(repr=False)

    @property
    def leased_until_ns(self) -> int | None:
        """Return when the lease, plus this kind's grace, may have ended; None if it is unknown."""
        return self.lease_end.ends_ns + self.grace_ns if self.lease_end.ends_ns else None


@dataclass(frozen=True, slots=True)
class Freshness:
    """The seq that a check covers at least, and the rest of the lease in milliseconds.

    The rest is not a lifetime of answers: do not keep one for this long. The next event may come at
    once.
    """

    as_of: int
    fresh_for_ms: int
