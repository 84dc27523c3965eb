"""The answers about receipts, as an editor and a type checker see them."""

from collections.abc import Mapping
from typing import Literal, NotRequired, TypedDict


class Verifier(TypedDict):
    """One verifier, and how long after the commit it was out of danger."""

    instance: str
    service: str
    outcome: Literal["acknowledged", "released", "lapsed"]
    latency_ms: float


class Lenient(TypedDict):
    """One verifier in grace: until then (RFC 3339) it may accept what was revoked."""

    instance: str
    service: str
    until: str


class Tally(TypedDict):
    """How the verifiers of one service got there."""

    service: str
    acknowledged: int
    released: int
    lapsed: int
    grace: int
    slowest_ms: float


class Summary(TypedDict):
    """How many verifiers got there, and how.

    `services` are the 200 with most verifiers, beside `services_left` others. `notable` are those
    that lapsed, at most 500, and the 50 slowest of the others.
    """

    verifiers: int
    acknowledged: int
    released: int
    lapsed: int
    grace: int
    grace_until: str | None
    services: list[Tally]
    services_left: int
    notable: list[Verifier]


class Receipt(TypedDict):
    """That a revocation is enforced, with a page of its verifiers.

    `content` (base64) is what `signature` (hex) signs. `next` is None on the last page. Until
    `unknown_grace_until` (RFC 3339, or None) a verifier that began after a restored backup was made
    may be in grace. An older authority lists all verifiers, and leaves out `unknown_grace_until`,
    `summary` and `next`.
    """

    revocation_id: str
    epoch: int
    seq: int
    events: list[Mapping[str, object]]
    committed_at: str
    enforced_at: str
    verifiers: list[Verifier]
    grace: list[Lenient]
    unknown_grace_until: NotRequired[str | None]
    summary: NotRequired[Summary]
    next: NotRequired[str | None]
    key_id: str
    signature: str
    content: str
    statement: str


class Progress(TypedDict):
    """How far a wait has come; in `lapse_in_s` seconds the rest has lapsed."""

    acknowledged: int
    released: int
    lapsed: int
    grace: int
    of: int
    lapse_in_s: float


class Enforcement(TypedDict):
    """A revocation, and whether it is enforced: then with its `receipt`, else with `progress`."""

    id: str
    epoch: int
    seq: int
    effect: str
    selector: list[str]
    exact: bool
    scopes: list[str]
    issued_before: str | None
    until: str | None
    lifts: str | None
    lifted_at: str | None
    reason: str
    actor: str
    committed_at: str
    state: Literal["committed", "enforced"]
    receipt: Receipt | None
    progress: Progress | None
