"""A receipt: the statement that a revocation is enforced, and how each verifier got there.

Enforced means: no check that starts after the receipt is accepted by an enforcing verifier. Checks
in flight may still finish.
"""

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """Why a verifier cannot accept what was revoked any more."""

    ACKNOWLEDGED = "acknowledged"  # its table shows the event
    RELEASED = "released"  # it gave its instance up, and answers nothing
    LAPSED = "lapsed"  # every lease that is ignorant of the event has ended


@dataclass(frozen=True, slots=True)
class Verified:
    """One verifier, and how long after the commit it was out of danger (microseconds)."""

    instance: bytes
    service: str
    outcome: Outcome
    latency_us: int


@dataclass(frozen=True, slots=True)
class Lenient:
    """A verifier in grace that has not said that it knows: until then (Unix µs) it may accept."""

    instance: bytes
    service: str
    until_us: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was enforced, where, and when. Times are Unix microseconds.

    `grace` names verifiers that go on without a lease for a while, as they were told to: there the
    guarantee does not hold. `unknown_grace_until_us` is there for a while after a restored backup:
    until then a verifier that began since the backup, of which this ledger knows nothing, may be in
    grace as well. `payloads` are the ledger's own bytes of the events with this id, of
    which a kill has two: without them a receipt says that something is enforced, and not what.
    """

    revocation_id: str
    epoch: int
    seq: int
    committed_at_us: int
    enforced_at_us: int
    verifiers: tuple[Verified, ...]
    grace: tuple[Lenient, ...]
    payloads: tuple[bytes, ...] = ()
    unknown_grace_until_us: int | None = None
