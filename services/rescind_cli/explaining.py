"""Why a token is denied, in words: from what the authority says of it, to what a person reads."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from rescind.client.admin import Document
from rescind.core.handles import EVERYTHING, Handle, kind_of
from rescind.core.revocation import Effect
from rescind_cli import render

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
class Cause:
    """One thing that denies a token or takes from it, by itself. Times are RFC 3339.

    `matched` says for each part of the selector why the token has that handle. What is no
    revocation (expiry, not-before) has no `where`.
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


def causes(seen: Document) -> list[Cause]:
    """List everything that denies a token, or takes a scope from it: holds first, then times."""
    return [*(_of_hold(hold, seen) for hold in seen["holds"]), *_of_times(seen)]


def document(cause: Cause) -> dict[str, object]:
    """Write a cause for programs."""
    return {**asdict(cause), "since": cause.since or None}


def may(seen: Document) -> dict[str, Any]:
    """Say what is left of a token; `until` is None where it is denied for good."""
    over = any(cause.reason in {"revoked", "expired"} for cause in causes(seen))
    left: list[str] = seen["scopes_left"]
    return {
        "scopes": left,
        "taken_away": sorted(set(seen["scopes"]) - set(left)),
        "audience": seen["audience"],
        "from": seen["not_before"],
        "until": None if over else seen["expires_at"],
    }


def _of_hold(hold: Document, seen: Document) -> Cause:
    effect = str(hold["effect"])
    reason, says, advice = _words(hold)
    return Cause(
        reason=reason,
        says=says,
        advice=advice,
        since=str(hold["committed_at"]),
        actor=str(hold["actor"]),
        why=str(hold["reason"]),
        where=f"revocation {hold['id']}, seq {hold['seq']}: {effect} "
        + " AND ".join(map(str, hold["selector"])),
        matched=tuple(_matched(Handle(str(handle)), seen) for handle in hold["selector"]),
        hold=str(hold["id"]),
    )


def _words(hold: Document) -> tuple[str, str, str]:
    """Name an effect's reason, what it means, and what ends it."""
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


def _of_times(seen: Document) -> Iterator[Cause]:
    now_us = render.unix_us(seen["at"])
    if seen.get("ended_seq") is not None:  # an older authority does not say
        by = seen["ended_by"]
        yield Cause(
            reason="expired",
            says="it was ended early, for good: by its position, whatever the clocks show",
            advice="Issue another token.",
            since=str(seen["expires_at"]),
            where=f"change {by}, seq {seen['ended_seq']}" if by else "",
        )
    elif render.unix_us(seen["expires_at"]) <= now_us:
        yield Cause(
            reason="expired",
            says="its time is over",
            advice="Issue another token, with a longer --ttl if this one was too short.",
            since=str(seen["expires_at"]),
        )
    elif seen["not_before"] is not None and render.unix_us(seen["not_before"]) > now_us:
        yield Cause(
            reason="not_yet_valid",
            says=f"its time begins at {seen['not_before']}",
            advice="Wait, or issue one without not_before.",
        )


def _matched(handle: Handle, seen: Document) -> str:
    """Say why a token has a handle."""
    kind, _, value = handle.partition(":")
    lineage: list[str] = seen["lineage"]
    if handle == EVERYTHING:
        return f"{handle}: every token has it; admin tokens and sidecars' credentials are spared"
    if kind == "tree" and value in lineage:
        return f"{handle}: it was delegated from that token"
    if kind in {"token", "tree"}:
        return f"{handle}: its own id"
    if kind == "chain" and value != seen["subject"]:
        return f"{handle}: that subject stands above it in the delegation"
    if kind in {"subject", "chain"}:
        return f"{handle}: its own subject"
    return f"{handle}: {_NAMES.get(kind_of(handle), 'one of its handles')}"
