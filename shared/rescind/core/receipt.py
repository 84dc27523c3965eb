"""A receipt: the statement that a revocation is enforced, and the outcome at each verifier.

Enforced means: no check that starts after the receipt is accepted by an enforcing verifier. Checks
in flight may still finish.

A receipt of at most `MAX_INLINE` verifiers names each of them. A larger one is a summary: counts,
the verifiers that matter most, and the hashes of the details, by which these stay verifiable.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from heapq import nsmallest

MAX_INLINE = 1_000
"""The largest number of verifiers, including those in grace, that a receipt names itself."""

MAX_LAPSED = 500
MAX_SLOWEST = 50
MAX_GRACE = 500
MAX_SERVICES = 200
"""How many of each a summary names; of services, those with the most verifiers."""


class Outcome(StrEnum):
    """Why a verifier can no longer accept the revoked tokens."""

    ACKNOWLEDGED = "acknowledged"  # its table shows the event
    RELEASED = "released"  # its instance was released, and answers no check
    LAPSED = "lapsed"  # every lease that does not cover the event has ended


@dataclass(frozen=True, slots=True)
class EnforcingVerifier:
    """One verifier, and the time from the commit until it denied (microseconds)."""

    instance: bytes
    service: str
    outcome: Outcome
    latency_us: int


@dataclass(frozen=True, slots=True)
class VerifierInGrace:
    """A verifier in grace that has not acknowledged: until `until_us` (Unix µs) it may accept."""

    instance: bytes
    service: str
    until_us: int


@dataclass(frozen=True, slots=True)
class ServiceTotals:
    """The outcomes of one service's verifiers, and the longest latency (microseconds)."""

    service: str
    acknowledged: int
    released: int
    lapsed: int
    grace: int
    slowest_us: int


@dataclass(frozen=True, slots=True)
class Summary:
    """The number of verifiers with each outcome.

    `grace_until_us` is the last end of a grace (Unix µs), or 0. `services_left` is the number of
    services without totals here. `hashes` are the SHA-256 of the chunks of the details, in order.
    """

    acknowledged: int
    released: int
    lapsed: int
    grace: int
    grace_until_us: int
    services: tuple[ServiceTotals, ...]
    services_left: int
    hashes: tuple[bytes, ...] = ()

    @property
    def verifiers(self) -> int:
        """Return the number of verifiers that deny."""
        return self.acknowledged + self.released + self.lapsed


@dataclass(frozen=True, slots=True)
class Receipt:
    """The statement that a revocation is enforced. Times are Unix microseconds.

    `grace` are the verifiers whose posture allows answers without a lease for a while; the
    guarantee does not cover them. `unknown_grace_until_us` is set for a while after a restored
    backup: until then, a verifier that started since the backup, and is missing from this ledger,
    may be in grace as well. `payloads` are the ledger's bytes of the events with this id, two for a
    kill; a receipt without them does not name the revocation. `hit` is the number of tokens that
    matched and had not ended, exact up to 10,000; None: not counted.

    With a `summary`, `verifiers` are only those of `notable`, and `grace` the first `MAX_GRACE`.
    """

    revocation_id: str
    epoch: int
    seq: int
    committed_at_us: int
    enforced_at_us: int
    verifiers: tuple[EnforcingVerifier, ...]
    grace: tuple[VerifierInGrace, ...]
    payloads: tuple[bytes, ...] = ()
    unknown_grace_until_us: int | None = None
    summary: Summary | None = None
    hit: int | None = None


def summarised(receipt: Receipt, hashes: tuple[bytes, ...]) -> Receipt:
    """Return the summary of a complete receipt whose details have these hashes."""
    return replace(
        receipt,
        verifiers=notable(receipt.verifiers),
        grace=receipt.grace[:MAX_GRACE],
        summary=replace(summary_of(receipt), hashes=hashes),
    )


def notable(verifiers: Sequence[EnforcingVerifier]) -> tuple[EnforcingVerifier, ...]:
    """Return the first `MAX_LAPSED` that lapsed, and the `MAX_SLOWEST` slowest of the others."""
    lapsed = [each for each in verifiers if each.outcome is Outcome.LAPSED]
    others = (each for each in verifiers if each.outcome is not Outcome.LAPSED)
    slowest = nsmallest(
        MAX_SLOWEST, others, key=lambda each: (-each.latency_us, each.service, each.instance)
    )
    return (*lapsed[:MAX_LAPSED], *slowest)


def summary_of(receipt: Receipt) -> Summary:
    """Return a receipt's own summary, or a summary of the verifiers that it names."""
    if receipt.summary is not None:
        return receipt.summary
    tallies: dict[str, dict[Outcome | None, int]] = {}
    slowest: dict[str, int] = {}
    for each in receipt.verifiers:
        tally = tallies.setdefault(each.service, {})
        tally[each.outcome] = tally.get(each.outcome, 0) + 1
        slowest[each.service] = max(slowest.get(each.service, 0), each.latency_us)
    for lenient in receipt.grace:
        tally = tallies.setdefault(lenient.service, {})
        tally[None] = tally.get(None, 0) + 1
    services = [
        ServiceTotals(
            service=service,
            acknowledged=tally.get(Outcome.ACKNOWLEDGED, 0),
            released=tally.get(Outcome.RELEASED, 0),
            lapsed=tally.get(Outcome.LAPSED, 0),
            grace=tally.get(None, 0),
            slowest_us=slowest.get(service, 0),
        )
        for service, tally in tallies.items()
    ]
    services.sort(
        key=lambda each: (
            -(each.acknowledged + each.released + each.lapsed + each.grace),
            each.service,
        )
    )
    return Summary(
        acknowledged=sum(each.acknowledged for each in services),
        released=sum(each.released for each in services),
        lapsed=sum(each.lapsed for each in services),
        grace=len(receipt.grace),
        grace_until_us=max((each.until_us for each in receipt.grace), default=0),
        services=tuple(services[:MAX_SERVICES]),
        services_left=max(0, len(services) - MAX_SERVICES),
    )
