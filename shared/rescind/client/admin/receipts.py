"""Receipts and waits as types; `responses/` explains such types."""

from typing import Annotated, Literal, NotRequired, TypedDict

Timestamp = Annotated[str, "an RFC 3339 time in UTC, such as 2030-01-31T12:00:00Z"]
"""A time, as the API writes it: `datetime.fromisoformat` reads it."""


class VerifierOutcome(TypedDict):
    """One verifier, and how it came to deny."""

    instance: str
    """The id of the sidecar instance, in hex."""
    service: str
    outcome: Literal["acknowledged", "released", "lapsed"]
    latency_ms: float
    """The longest time from the commit until it denied, in milliseconds."""


class GraceVerifier(TypedDict):
    """One verifier in grace: until its grace ends, it may accept revoked tokens."""

    instance: str
    service: str
    until: Timestamp


class ServiceOutcomes(TypedDict):
    """How many verifiers of one service came to deny, and how."""

    service: str
    acknowledged: int
    released: int
    lapsed: int
    grace: int
    slowest_ms: float
    """The longest latency among them, in milliseconds."""


class ReceiptSummary(TypedDict):
    """How many verifiers came to deny, and how."""

    verifiers: int
    """The sum of `acknowledged`, `released` and `lapsed`."""
    acknowledged: int
    released: int
    lapsed: int
    grace: int
    """Verifiers in grace, for which the guarantee does not hold yet."""
    grace_until: Timestamp | None
    """When the last of these denies; None: there are none."""
    services: list[ServiceOutcomes]
    """The 200 services with the most verifiers."""
    services_left: int
    """How many services are not listed."""
    notable: list[VerifierOutcome]
    """Those that lapsed, at most 500, and the 50 slowest of the others."""


class LedgerEvent(TypedDict):
    """A revocation as the ledger numbers and stores it."""

    epoch: int
    seq: int
    at: Timestamp
    id: str
    effect: str
    """`revoke`, `suspend`, `narrow`, `lift` or `changed`."""
    selector: list[str]
    scopes: list[str]
    """Scope patterns that a `narrow` removes."""
    issued_before: Timestamp | None
    until: Timestamp | None
    lifts: str | None
    """The id of the revocation that a lift ends."""
    reason: str
    actor: str


class ReceiptContent(TypedDict):
    """The content of a receipt: a revocation is enforced, and how each verifier came to deny.

    An older authority leaves out `unknown_grace_until` and `summary`.
    """

    revocation_id: str
    epoch: int
    seq: int
    events: list[LedgerEvent]
    """The enforced events; two for a kill."""
    committed_at: Timestamp
    enforced_at: Timestamp
    """From this time on no check is accepted by an enforcing verifier."""
    verifiers: list[VerifierOutcome]
    """At most 1,000; `summary` has their number."""
    grace: list[GraceVerifier]
    """Verifiers for which the guarantee does not hold yet: the first 500; later pages follow."""
    unknown_grace_until: NotRequired[Timestamp | None]
    """Until then, a verifier that a restored ledger lacks may be in grace; None: no verifier."""
    hit: int | None
    """How many live tokens matched; None: the count was not available at the signing."""
    summary: NotRequired[ReceiptSummary]


class ReceiptDocument(ReceiptContent):
    """A receipt with its signature, and a page of its verifiers.

    An older authority lists all verifiers at once, and leaves out `next`.
    """

    next: NotRequired[str | None]
    """The cursor of the next page; None at the end."""
    key_id: str
    signature: str
    """The Ed25519 signature of `content`, in hex."""
    content: str
    """The bytes that were signed, in base64."""
    statement: str
    """The root key's trust statement, which names the signing keys, in base64."""


class PendingVerifier(TypedDict):
    """One verifier that a wait waits for."""

    instance: str
    service: str
    silent_s: float | None
    """Seconds since its last heartbeat; None: not known."""


class WaitProgress(TypedDict):
    """The progress of a wait."""

    acknowledged: int
    released: int
    lapsed: int
    grace: int
    """Verifiers in grace: the wait does not wait for them."""
    of: int
    """How many verifiers there are in all."""
    lapse_in_s: float
    """The number of seconds until the remaining verifiers have lapsed."""
    waits_for: list[PendingVerifier]
    """The first 20 missing verifiers."""
