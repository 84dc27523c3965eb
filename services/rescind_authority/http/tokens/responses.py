"""Response bodies with tokens, and their conversion from what use cases return."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from rescind.core.delegation import DelegationLimits, Right
from rescind.core.revocation import Event
from rescind.core.token_format import Kind
from rescind.core.verdict import Reason
from rescind_authority.http import timestamps
from rescind_authority.http.tokens.requests import OnReuse
from rescind_authority.ports.token_grant import TokenGrant
from rescind_authority.ports.tokens import IssueTimes
from rescind_authority.usecases.read_model.inspector import SeenToken, State
from rescind_authority.usecases.tokens.new_token import Minted


class TokenFacts(BaseModel):
    """A token, without its secret."""

    token_id: str
    kind: Kind
    subject: str
    scopes: list[str]
    audience: list[str]
    tenant: str | None
    client: str | None
    session: str | None
    labels: dict[str, str]
    lineage: list[str] = Field(description="The token ids from the root of the delegation down.")
    chain: list[str] = Field(description="Their subjects.")
    may_speak_for: list[str] = Field(
        description="Patterns of the subjects that it may delegate to, besides its own."
    )
    max_depth: int | None = Field(description="How many levels of descendants it may have.")
    addresses: list[str] = Field(
        description="The networks that it is valid from. Empty: all networks."
    )
    verifier: dict[str, str] = Field(description="The labels of the verifiers that accept it.")
    self_service: list[Right] | None = Field(
        description="The rights of its holder at the authority. Null: the default."
    )
    max_overlap: float = Field(
        description="The longest overlap of a rotation by its holder, in seconds."
    )
    on_reuse: OnReuse = Field(description="The effect if an old secret is used.")
    idle: float | None = Field(
        description="For a session: the seconds without use after which it ends. Null: never."
    )
    handles: list[str] = Field(description="The handles by which a revocation can hit it.")
    issued_at: datetime
    issued_seq: int = Field(description="The ledger's seq at which it was issued.")
    not_before: datetime | None
    expires_at: datetime
    created_by: str
    state: State


class IssuedToken(TokenFacts):
    """A new token. A repeat under the same Idempotency-Key contains no secret."""

    token: str | None = Field(description="The secret, which is shown only once.")


class RestrictionFacts(BaseModel):
    """A revocation that applies to a token."""

    id: str
    effect: str
    seq: int
    selector: list[str] = Field(description="Handles, all of which the token has.")
    scopes: list[str] = Field(description="The scopes that a narrowing removes.")
    issued_before: datetime | None
    until: datetime | None = Field(
        description="The time at which the suspension or narrowing is lifted."
    )
    reason: str
    actor: str
    committed_at: datetime


class ListedToken(TokenFacts):
    """A token, and the revocations that apply to it."""

    last_used_at: datetime | None
    user_agent: str | None
    address: str | None
    holds: list[RestrictionFacts]
    ended_seq: int | None = Field(
        description="The seq of the event that ended it early, for good. 0: it ended before "
        "positions were stored. Null: it was not ended early."
    )
    ended_by: str | None = Field(description="The id of that event, if it is known.")


class LookedAtToken(ListedToken):
    """A token in one snapshot, and the decision of a verifier on it."""

    denied: Reason | None = Field(
        description="The reason for which every verifier denies it. Null: it is not denied."
    )
    scopes_left: list[str] = Field(description="The effective scopes, as verifiers report them.")
    scopes_removed: list[str] = Field(description="The patterns that narrowings remove.")
    rotated_at: datetime | None = Field(
        description="The time at which the given secret was replaced; `expires_at` and `ended_seq` "
        "are then those of the secret. Null: it is the current secret, or an id was given."
    )
    as_of: int = Field(description="The ledger's seq in the snapshot.")
    at: datetime = Field(description="The authority's time in the snapshot.")
    ended_reason: str | None = Field(
        description="The reason in the event that ended it early, if it is known."
    )


def minted_of(minted: Minted) -> IssuedToken:
    """Return a new token with its secret."""
    facts = _fields_of(minted.token.grant, minted.issued, State.ACTIVE)
    return IssuedToken(token=minted.secret.reveal(), **facts)


def listed(seen: SeenToken) -> dict[str, Any]:
    """Return the fields of a ListedToken."""
    return {
        **facts_of(seen),
        "last_used_at": timestamps.maybe_from_us(seen.token.last_used_at_us),
        "user_agent": seen.token.grant.device.user_agent,
        "address": seen.token.grant.device.address,
        "holds": [_restriction_of(event) for event in seen.restrictions],
        "ended_seq": None if seen.token.ended is None else seen.token.ended.seq,
        "ended_by": None if seen.token.ended is None else seen.token.ended.revocation_id or None,
    }


def _restriction_of(event: Event) -> RestrictionFacts:
    revocation = event.revocation
    return RestrictionFacts(
        id=revocation.revocation_id,
        effect=revocation.effect,
        seq=event.seq,
        selector=list(revocation.selector.handles),
        scopes=list(revocation.scopes),
        issued_before=timestamps.maybe_from_us(revocation.issued_before_us),
        until=timestamps.maybe_from_us(revocation.until_us),
        reason=revocation.reason,
        actor=revocation.actor,
        committed_at=timestamps.from_us(event.at_us),
    )


def _policy_of(limits: DelegationLimits) -> dict[str, Any]:
    rights = limits.self_service
    return {
        "self_service": None if rights is None else list(rights),
        "max_overlap": limits.max_overlap_us / 1_000_000,
        "on_reuse": OnReuse.DENY if limits.reuse_denies else OnReuse.REVOKE,
    }


def _to_seconds(us: int | None) -> float | None:
    return None if us is None else us / 1_000_000


def facts_of(seen: SeenToken) -> dict[str, Any]:
    """Return the fields of a TokenFacts."""
    token = seen.token
    issued = IssueTimes(token.issued_at_us, token.issued_seq, token.expires_at_us)
    return _fields_of(token.grant, issued, seen.state)


def _fields_of(grant: TokenGrant, issued: IssueTimes, state: State) -> dict[str, Any]:
    return {
        "token_id": grant.token_id,
        "kind": grant.kind,
        "subject": grant.subject,
        "scopes": list(grant.scopes),
        "audience": list(grant.audience),
        "tenant": grant.tenant,
        "client": grant.client,
        "session": grant.session,
        "labels": dict(grant.labels),
        "lineage": list(grant.lineage),
        "chain": list(grant.chain),
        "may_speak_for": list(grant.limits.may_speak_for),
        "max_depth": grant.limits.max_depth,
        "addresses": list(grant.conditions.addresses),
        "verifier": dict(grant.conditions.verifier),
        **_policy_of(grant.limits),
        "idle": _to_seconds(grant.idle_us),
        "handles": list(grant.handles),
        "issued_at": timestamps.from_us(issued.issued_at_us),
        "issued_seq": issued.issued_seq,
        "not_before": timestamps.maybe_from_us(grant.not_before_us),
        "expires_at": timestamps.from_us(issued.expires_at_us),
        "created_by": grant.created_by,
        "state": state,
    }
