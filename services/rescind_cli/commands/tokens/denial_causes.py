"""Explain why a token is denied, from the facts that the authority returns."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from rescind.client.admin import AppliedRevocation, TokenDetails
from rescind.core import times
from rescind.core.handles import EVERYTHING, Handle, kind_of
from rescind.core.revocation import Effect

_NAMES = {
    "tenant": "its tenant",
    "client": "its client",
    "session": "its session",
    "label": "its label",
    "kind": "its kind",
    "issuer": "its issuer",
    "created_by": "the administrator who issued it, or what it was delegated from",
    "jwt": "its id at its issuer",
}


@dataclass(frozen=True, slots=True)
class DenialCause:
    """One cause that by itself denies a token or removes scopes from it. Times are RFC 3339.

    `matched` states, for each part of the selector, why the token has that handle. A cause that is
    not a revocation (expiry, not-before) has no `where`.
    """

    reason: str
    says: str
    advice: str
    since: str = ""
    actor: str = ""
    why: str = ""
    where: str = ""
    matched: tuple[str, ...] = ()
    hold: str | None = None


def causes(seen: TokenDetails) -> list[DenialCause]:
    """Return all causes that deny a token or remove a scope: revocations first, then times."""
    return [*(_of_hold(hold, seen) for hold in seen["holds"]), *_of_times(seen)]


def document(cause: DenialCause) -> dict[str, object]:
    """Return a cause as a document for `--json`."""
    return {**asdict(cause), "since": cause.since or None}


def remaining_power(seen: TokenDetails) -> dict[str, Any]:
    """Return the remaining scopes, audience and times of a token.

    `until` is None for a token that is denied for good.
    """
    over = any(cause.reason in {"revoked", "expired"} for cause in causes(seen))
    left = seen["scopes_left"]
    return {
        "scopes": left,
        "taken_away": sorted(set(seen["scopes"]) - set(left)),
        "audience": seen["audience"],
        "from": seen["not_before"],
        "until": None if over else seen["expires_at"],
    }


def _of_hold(hold: AppliedRevocation, seen: TokenDetails) -> DenialCause:
    reason, says, advice = _words(hold)
    return DenialCause(
        reason=reason,
        says=says,
        advice=advice,
        since=hold["committed_at"],
        actor=hold["actor"],
        why=hold["reason"],
        where=f"revocation {hold['id']}, seq {hold['seq']}: {hold['effect']} "
        + " AND ".join(hold["selector"]),
        matched=tuple(_matched(Handle(handle), seen) for handle in hold["selector"]),
        hold=hold["id"],
    )


def _words(hold: AppliedRevocation) -> tuple[str, str, str]:
    """Return the reason, the meaning and the advice for an effect."""
    until = f", at the latest {hold['until']}" if hold["until"] else ""
    match hold["effect"]:
        case Effect.SUSPEND:
            return "suspended", f"until it is lifted{until}", f"rescind lift {hold['id']}"
        case Effect.NARROW:
            scopes = " ".join(hold["scopes"])
            return "narrowed", f"without {scopes}{until}", f"rescind lift {hold['id']}"
        case Effect.REVOKE:
            return "revoked", "for good", "Issue another token: a revocation is final."
        case other:
            return (
                "revoked",
                f"by an effect that this version does not know: {other}",
                "Upgrade this command: a newer authority wrote it.",
            )


def _of_times(seen: TokenDetails) -> Iterator[DenialCause]:
    now_us = times.parse_rfc3339(seen["at"])
    if (rotated_at := seen.get("rotated_at")) is not None:  # an older authority omits it
        yield from _of_rotation(rotated_at, seen, now_us)
    elif seen.get("ended_seq") is not None:  # the same
        by = seen["ended_by"]
        yield DenialCause(
            reason="expired",
            says="it was ended early, for good: by its position, whatever the clocks show",
            advice="Issue another token.",
            since=seen["expires_at"],
            why=seen.get("ended_reason") or "",  # an older authority omits it
            where=f"change {by}, seq {seen['ended_seq']}" if by else "",
        )
    elif times.parse_rfc3339(seen["expires_at"]) <= now_us:
        yield DenialCause(
            reason="expired",
            says="its time is over",
            advice="Issue another token, with a longer --ttl if this one was too short.",
            since=seen["expires_at"],
        )
    elif seen["not_before"] is not None and times.parse_rfc3339(seen["not_before"]) > now_us:
        yield DenialCause(
            reason="not_yet_valid",
            says=f"its time begins at {seen['not_before']}",
            advice="Wait, or issue one without not_before.",
        )


def _of_rotation(rotated_at: str, seen: TokenDetails, now_us: int) -> Iterator[DenialCause]:
    by = seen["ended_by"]
    if seen["ended_seq"] is None and times.parse_rfc3339(seen["expires_at"]) > now_us:
        return  # within its overlap
    yield DenialCause(
        reason="expired",
        says=f"this secret was rotated away at {rotated_at}, and its overlap is over",
        advice="Use the secret that the rotation returned, or rotate again if it is lost: "
        f"rescind tokens rotate {seen['token_id']}. Do not use this one: its use ends the token, "
        "unless it was rotated with --on-reuse deny.",
        since=seen["expires_at"],
        where=f"change {by}, seq {seen['ended_seq']}" if by else "",
    )


def _matched(handle: Handle, seen: TokenDetails) -> str:
    """Return why a token has a handle."""
    kind, _, value = handle.partition(":")
    if handle == EVERYTHING:
        return f"{handle}: every token has it; admin tokens and sidecars' credentials are spared"
    if kind == "tree" and value in seen["lineage"]:
        return f"{handle}: it was delegated from that token"
    if kind in {"token", "tree"}:
        return f"{handle}: its own id"
    if kind == "chain" and value != seen["subject"]:
        return f"{handle}: that subject stands above it in the delegation"
    if kind in {"subject", "chain"}:
        return f"{handle}: its own subject"
    return f"{handle}: {_NAMES.get(kind_of(handle), 'one of its handles')}"
