"""Explain why a token is denied, from the facts that the authority returns."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from rescind.client.admin import RestrictionDetails, TokenDetails
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
    "created_by": "the administrator who issued it, or a token that it was delegated from",
    "jwt": "its id at its issuer",
}


@dataclass(frozen=True, slots=True)
class DenialCause:
    """One cause that by itself denies a token or removes scopes from it. Times are RFC 3339.

    `matched` states, for each part of the selector, why the token has that handle. A cause that is
    not a revocation (expiry, not-before) has no `where`.
    """

    reason: str
    meaning: str
    advice: str
    since: str = ""
    actor: str = ""
    why: str = ""
    where: str = ""
    matched: tuple[str, ...] = ()
    hold: str | None = None


def causes(token: TokenDetails) -> list[DenialCause]:
    """Return all causes that deny a token or remove a scope: revocations first, then times."""
    return [
        *(_cause_of_restriction(each, token) for each in token["holds"]),
        *_causes_of_times(token),
    ]


def document(cause: DenialCause) -> dict[str, object]:
    """Return a cause as a document for `--json`."""
    fields = asdict(cause) | {"since": cause.since or None}
    return {"says" if name == "meaning" else name: value for name, value in fields.items()}


def remaining_power(token: TokenDetails) -> dict[str, Any]:
    """Return the remaining scopes, audience and times of a token.

    `until` is None for a token that is denied for good.
    """
    over = any(cause.reason in {"revoked", "expired"} for cause in causes(token))
    left = token["scopes_left"]
    return {
        "scopes": left,
        "taken_away": sorted(set(token["scopes"]) - set(left)),
        "audience": token["audience"],
        "from": token["not_before"],
        "until": None if over else token["expires_at"],
    }


def _cause_of_restriction(restriction: RestrictionDetails, token: TokenDetails) -> DenialCause:
    reason, meaning, advice = _meaning_of(restriction)
    return DenialCause(
        reason=reason,
        meaning=meaning,
        advice=advice,
        since=restriction["committed_at"],
        actor=restriction["actor"],
        why=restriction["reason"],
        where=f"revocation {restriction['id']}, seq {restriction['seq']}: {restriction['effect']} "
        + " AND ".join(restriction["selector"]),
        matched=tuple(_match_text(Handle(handle), token) for handle in restriction["selector"]),
        hold=restriction["id"],
    )


def _meaning_of(restriction: RestrictionDetails) -> tuple[str, str, str]:
    """Return the reason, the meaning and the advice for an effect."""
    until = f", at the latest {restriction['until']}" if restriction["until"] else ""
    match restriction["effect"]:
        case Effect.SUSPEND:
            return "suspended", f"until it is lifted{until}", f"rescind lift {restriction['id']}"
        case Effect.NARROW:
            scopes = " ".join(restriction["scopes"])
            return "narrowed", f"without {scopes}{until}", f"rescind lift {restriction['id']}"
        case Effect.REVOKE:
            return "revoked", "permanently", "Issue another token: a revocation is final."
        case other:
            return (
                "revoked",
                f"by an effect that is unknown to this version: {other}",
                "Upgrade this command: a newer authority wrote it.",
            )


def _causes_of_times(token: TokenDetails) -> Iterator[DenialCause]:
    now_us = times.parse_rfc3339(token["at"])
    if (rotated_at := token.get("rotated_at")) is not None:  # an older authority omits it
        yield from _causes_of_rotation(rotated_at, token, now_us)
    elif token.get("ended_seq") is not None:  # the same
        by = token["ended_by"]
        yield DenialCause(
            reason="expired",
            meaning="it was expired early, permanently: by its ledger position, not by the clock",
            advice="Issue another token.",
            since=token["expires_at"],
            why=token.get("ended_reason") or "",  # an older authority omits it
            where=f"change {by}, seq {token['ended_seq']}" if by else "",
        )
    elif times.parse_rfc3339(token["expires_at"]) <= now_us:
        yield DenialCause(
            reason="expired",
            meaning="its lifetime is over",
            advice="Issue another token, with a longer --ttl if this one was too short.",
            since=token["expires_at"],
        )
    elif token["not_before"] is not None and times.parse_rfc3339(token["not_before"]) > now_us:
        yield DenialCause(
            reason="not_yet_valid",
            meaning=f"it is not valid before {token['not_before']}",
            advice="Wait until then, or issue a token without not_before.",
        )


def _causes_of_rotation(rotated_at: str, token: TokenDetails, now_us: int) -> Iterator[DenialCause]:
    by = token["ended_by"]
    if token["ended_seq"] is None and times.parse_rfc3339(token["expires_at"]) > now_us:
        return  # within its overlap
    yield DenialCause(
        reason="expired",
        meaning=f"this secret was replaced at {rotated_at}, and its overlap is over",
        advice="Use the secret that the rotation returned, or rotate again if it is lost: "
        f"rescind tokens rotate {token['token_id']}. Do not use this one: its use ends the token, "
        "unless it was rotated with --on-reuse deny.",
        since=token["expires_at"],
        where=f"change {by}, seq {token['ended_seq']}" if by else "",
    )


def _match_text(handle: Handle, token: TokenDetails) -> str:
    """Return why a token has a handle."""
    kind, _, value = handle.partition(":")
    if handle == EVERYTHING:
        return f"{handle}: every token has it; admin tokens and sidecars' credentials are spared"
    if kind == "tree" and value in token["lineage"]:
        return f"{handle}: it was delegated from that token"
    if kind in {"token", "tree"}:
        return f"{handle}: its own id"
    if kind == "chain" and value != token["subject"]:
        return f"{handle}: an ancestor of its delegation has that subject"
    if kind in {"subject", "chain"}:
        return f"{handle}: its own subject"
    return f"{handle}: {_NAMES.get(kind_of(handle), 'one of its handles')}"
