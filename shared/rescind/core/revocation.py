"""Revocations as they are commanded, and events as the ledger numbers them."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from rescind.core.handles import EVERYTHING, SIDECARS, Handle, Selector, kind_of
from rescind.core.token_format import Kind

_ADMINS = Handle(f"kind:{Kind.ADMIN}")
_SPARE_SIDECARS = frozenset({"*", "kind", "tenant", "label", "client", "issuer"})


class Effect(StrEnum):
    """The effect of a revocation on the tokens that its selector matches."""

    REVOKE = "revoke"
    SUSPEND = "suspend"
    NARROW = "narrow"
    LIFT = "lift"
    CHANGED = "changed"


# On these effects, a verifier fetches the record again; they do not apply to a token.
NOT_RESTRICTING = frozenset({Effect.LIFT, Effect.CHANGED})

ENDED = "ended"
"""The effect of the early end of a token, and of the end of a rotated secret: the `changed` event
at its seq caused the end. It is not a command, so it is not an `Effect`."""


@dataclass(frozen=True, slots=True)
class Revocation:
    """A command: the tokens that it selects, its effect, its reason and its actor.

    `effect` is a text, not an `Effect`: a verifier must obey effects that are newer than itself.
    `issued_before_us` is the only cutoff that compares times (Unix microseconds, Postgres's clock).
    `lifts` is the id of the revocation that a lift ends; the lift has the same selector.
    """

    revocation_id: str
    selector: Selector
    effect: str
    reason: str
    actor: str
    issued_before_us: int | None = None
    until_us: int | None = None
    scopes: tuple[str, ...] = ()
    lifts: str | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """A revocation at its place in the ledger. `at_us` is Postgres's clock, Unix microseconds."""

    epoch: int
    seq: int
    at_us: int
    revocation: Revocation


@dataclass(frozen=True, slots=True)
class Restriction:
    """One revocation that applies to a token, or the token's early end.

    `revocation_id` names the event at `seq`. For an end (`ENDED`) from before the ledger stored the
    positions of ends, it is empty, and `seq` is 0.
    """

    revocation_id: str
    effect: str
    seq: int


def lift_of(event: Event, *, revocation_id: str, reason: str, actor: str) -> Revocation:
    """Return the lift of a revocation. It selects the same tokens, so that verifiers ask again."""
    lifted = event.revocation
    return Revocation(
        revocation_id=revocation_id,
        selector=lifted.selector,
        effect=Effect.LIFT,
        reason=reason,
        actor=actor,
        issued_before_us=lifted.issued_before_us,
        lifts=lifted.revocation_id,
    )


def spares(selector: Selector, handles: Collection[Handle]) -> bool:
    """Return True if a selector spares a matching token with these handles.

    `*` spares admin tokens unless the selector names `kind:admin`. Wide handles alone spare the
    credentials of sidecars unless the selector names `kind:sidecar`: without credentials, no
    verifier gets a lease.
    """
    selected = selector.handles
    if EVERYTHING in selected and _ADMINS in handles and _ADMINS not in selected:
        return True
    if SIDECARS not in handles or SIDECARS in selected:
        return False
    return all(kind_of(handle) in _SPARE_SIDECARS for handle in selected)


def hits(event: Event, *, handles: Collection[Handle], issued_seq: int, issued_at_us: int) -> bool:
    """Return True if an event applies to a token. Positions decide, not clocks (design 5).

    A `revoke` spares tokens issued at or after its own seq: after "log out everywhere", a user may
    log in again. Some tokens are spared unless the selector names them (`spares`). `issued_at_us`
    is the time of issue (Unix µs) of the first ancestor that the selector matches too: a delegated
    token does not outlive its parent by being younger than a cutoff.
    """
    selector = event.revocation.selector
    if not selector.matches(handles):
        return False
    if spares(selector, handles):
        return False
    if event.revocation.effect == Effect.REVOKE and issued_seq >= event.seq:
        return False
    cutoff = event.revocation.issued_before_us
    return cutoff is None or issued_at_us < cutoff
