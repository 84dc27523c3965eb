"""The requests and verdicts of checks, and the rules that need no clock."""

from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum

from rescind.core.record import Record
from rescind.core.revocation import ENDED, Effect
from rescind.core.token_format import TokenHash


@dataclass(frozen=True, slots=True)
class CheckRequest:
    """A token or its hash, and the requirements of one call.

    `require` are the scopes that the token must grant. `audience` is the service; None means the
    verifier's own. `address` is the caller's; None if it is not known. The answer covers the ledger
    up to `min_seq` at least.
    """

    token: str | TokenHash = field(repr=False)
    require: Collection[str] = frozenset()
    audience: str | None = None
    address: str | None = None
    min_seq: int = 0


class Reason(StrEnum):
    """Why a token is denied; the same values everywhere."""

    MISSING = "missing"
    MALFORMED = "malformed"
    UNKNOWN = "unknown"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    REVOKED = "revoked"
    SUSPENDED = "suspended"
    WRONG_AUDIENCE = "wrong_audience"
    WRONG_VERIFIER = "wrong_verifier"
    WRONG_ADDRESS = "wrong_address"
    INSUFFICIENT_SCOPE = "insufficient_scope"
    NO_LEASE = "no_lease"
    UNAVAILABLE = "unavailable"


NOT_JUDGED = frozenset({Reason.NO_LEASE, Reason.UNAVAILABLE})
"""The reasons that are not about the token: it may be valid, and must not be thrown away."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """The token is valid, for this audience and these scopes, at the moment of the check."""

    record: Record


@dataclass(frozen=True, slots=True)
class Denied:
    """The token is not accepted, because of `reason`."""

    reason: Reason


Verdict = Allowed | Denied


def judge_state(record: Record) -> Denied | None:
    """Return the denial by a record's restrictions, or None.

    Of several, a revoke is reported before a suspension, and both before an early end.
    """
    if record.live:
        return None
    if any(each.effect == Effect.REVOKE for each in record.restrictions):
        return Denied(Reason.REVOKED)
    if any(each.effect == Effect.SUSPEND for each in record.restrictions):
        return Denied(Reason.SUSPENDED)
    # As for a token that has expired, any other restriction is reported first.
    if all(each.effect in (ENDED, Effect.NARROW) for each in record.restrictions):
        return Denied(Reason.EXPIRED)
    # An effect that this version does not support is a hit: deny rather than guess (design 5).
    return Denied(Reason.REVOKED)


def timely(record: Record, *, earliest_us: int, latest_us: int) -> Denied | None:
    """Check a record's times if the present lies within [earliest, latest]; if unsure, deny."""
    if latest_us >= record.expires_at_us:
        return Denied(Reason.EXPIRED)
    if earliest_us < record.not_before_us:
        return Denied(Reason.NOT_YET_VALID)
    return None


def permitted(
    record: Record,
    *,
    require: Collection[str],
    audience: str,
    address: str | None = None,
    labels: Collection[tuple[str, str]] = (),
) -> Denied | None:
    """Check the requirements of one call, and its conditions. The result is never cached.

    `address` is the caller's, None if it is not known; `labels` are the verifier's.
    """
    if record.audience and audience not in record.audience:
        return Denied(Reason.WRONG_AUDIENCE)
    if record.conditions:
        if not record.conditions.fits(labels):
            return Denied(Reason.WRONG_VERIFIER)
        if not record.conditions.admits(address):
            return Denied(Reason.WRONG_ADDRESS)
    if require and not record.grants(require):
        return Denied(Reason.INSUFFICIENT_SCOPE)
    return None
