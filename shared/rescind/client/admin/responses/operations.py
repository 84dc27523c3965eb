"""The fleet, the lease terms, and the health of an authority."""

from typing import Literal, TypedDict

from rescind.client.admin.receipts import Timestamp

InstanceState = Literal["live", "silent", "released", "evicted"]


class FleetInstance(TypedDict):
    """One sidecar process."""

    instance: str
    """Its id, in hex."""
    service: str
    host: str
    version: str
    posture: str
    """`strict`, or `grace:` with durations."""
    state: InstanceState
    """`silent`: no heartbeat for a whole lease term."""
    epoch: int | None
    applied_seq: int | None
    """The seq that it reported as applied."""
    acked_seq: int
    """The same, where its hash chain agrees with the ledger's."""
    lease_left_ms: int
    """The longest time for which its lease can still be valid, in milliseconds."""
    overdue: bool
    """True: it is live, and was silent for more than half of the lease term."""
    lag: int
    """How many events it has not acknowledged."""
    first_seen: Timestamp
    last_seen: Timestamp
    released_at: Timestamp | None
    credential: str | None
    """The id of the token with which it enrolled."""
    evicted_at: Timestamp | None
    evicted_why: str | None
    trust_serial: int | None
    """The number of its trust statement; None: its version does not report it."""


class FleetDetails(TypedDict):
    """The end of the ledger, and the sidecars."""

    epoch: int
    seq: int
    head: str
    """The hash of the ledger up to `seq`, in hex."""
    grant_term_ms: int
    """For how long leases are granted now, in milliseconds."""
    ended: int
    """How many instances have ended and are not listed."""
    instances: list[FleetInstance]


class EvictedInstance(TypedDict):
    """A sidecar instance that gets no lease any more."""

    instance: str
    service: str
    evicted_at: Timestamp
    evicted_why: str
    lease_ends_at: Timestamp
    """The latest end of its last lease; a grace that it declared comes after that."""


class LeaseTerm(TypedDict):
    """The lease terms, in milliseconds."""

    grant_term_ms: int
    """For how long leases are granted now."""
    wait_term_ms: int
    """The term that a revocation assumes for leases: at least `grant_term_ms`."""
    target_term_ms: int
    """The term that was requested last."""
    settled: bool
    """True: all three are equal."""


class AuthorityHealth(TypedDict):
    """Whether the authority can do its work; each part is `ok`, or the fault."""

    status: Literal["ready", "unavailable"]
    postgres: str
    nats: str
    """Only speed depends on NATS."""
    trust: str
    """`ok`, or until when sidecars trust the keys of this authority."""
    version: str
    """The version of the authority."""
