"""Until when an answer of the sidecar stands, where the sidecar's table is not mapped.

A mapped table shows the end of the lease to every process, also beside a sidecar that has stopped.
Without one a client knows what the last answers implied: each names the lease that is left, and
counts from before its question left (CLOCK_BOOTTIME), so never to a later moment than the
sidecar's own.
"""

from dataclasses import dataclass, field

from rescind.core.verdict import Allowed


class LeaseEnd:
    """The end of an instance's lease, as its answers at one position of the ledger implied it.

    Everything that was confirmed at this position shares it: an answer about one token moves it for
    all of them. An answer at a later position does not, since an event between may have hit them.
    `ends_ns` is 0 while no answer has named a lease.
    """

    __slots__ = ("as_of", "ends_ns", "instance")

    def __init__(self, instance: bytes, as_of: int, ends_ns: int) -> None:
        self.instance = instance
        self.as_of = as_of
        self.ends_ns = ends_ns


@dataclass(frozen=True, slots=True, eq=False)
class Answered(Allowed):
    """What the sidecar allowed by its socket, and what it said about how long that stands.

    `token_until_ns` is when the token's own times have to be judged again; None from an older
    sidecar, which does not say it.
    """

    horizon: LeaseEnd = field(repr=False)
    grace_ns: int = field(repr=False)
    token_until_ns: int | None = field(repr=False)

    @property
    def leased_until_ns(self) -> int | None:
        """When the lease, with this kind's grace, may have ended; None if no answer said it."""
        return self.horizon.ends_ns + self.grace_ns if self.horizon.ends_ns else None
