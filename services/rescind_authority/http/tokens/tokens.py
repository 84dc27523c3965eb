"""`/v1/tokens`: issue a token, and look at one."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from fastapi import APIRouter, Response, status
from pydantic import BaseModel, ConfigDict, Field

from rescind.core.delegation import DelegationLimits, Right
from rescind.core.revocation import Event
from rescind.core.token_format import Kind
from rescind.core.verdict import Reason
from rescind_authority.http import problems, timestamps
from rescind_authority.http.dependencies import (
    Authority,
    IdempotencyKey,
    IssuerActor,
    Reader,
    bind_key,
)
from rescind_authority.ports.enrolments import Binding
from rescind_authority.ports.token_grant import TokenGrant
from rescind_authority.ports.tokens import IssueTimes
from rescind_authority.usecases.leases.enrol import MOST_INSTANCES
from rescind_authority.usecases.read_model.inspector import SeenToken, State
from rescind_authority.usecases.tokens.issue import IssueCommand
from rescind_authority.usecases.tokens.new_token import Minted, Repeated
from rescind_authority.usecases.validation import DEFAULT_TTL_S

router = APIRouter(prefix="/v1/tokens", tags=["tokens"])

_NO_TOKEN = problems.openapi_responses({404: "There is no such token."})


class OnReuse(StrEnum):
    """The effect of the use of a rotated secret after its overlap."""

    REVOKE = "revoke"
    DENY = "deny"


class SidecarBindingRequest(BaseModel):
    """Limits on the sidecars that enrol with a credential."""

    model_config = ConfigDict(extra="forbid")

    posture: str = Field(
        default="strict",
        description="The most lenient posture that the sidecars may declare.",
        examples=["grace:session=60s,service=5m"],
    )
    instances: int | None = Field(
        default=None,
        description=f"How many there may be at once; left out, {MOST_INSTANCES}. Within an hour "
        "ten times as many may have a lease.",
    )


class IssueRequest(BaseModel):
    """The grant of the new token."""

    model_config = ConfigDict(extra="forbid")

    subject: str = Field(
        description="The agent, user or service that the token stands for.",
        examples=["agent:billing-bot"],
    )
    kind: Kind = Field(description="The kind of holder.")
    scopes: list[str] = Field(default=[], examples=[["tools:call"]])
    audience: list[str] = Field(
        default=[], description="The services that may accept it. Empty: every service."
    )
    ttl: float = Field(default=DEFAULT_TTL_S, description="Lifetime in seconds.")
    not_before: timestamps.Moment | None = Field(
        default=None,
        description="The time before which it is not valid: RFC 3339, or Unix seconds.",
    )
    labels: dict[str, str] = {}
    tenant: str | None = None
    client: str | None = None
    session: str | None = None
    may_speak_for: list[str] = Field(
        default=[],
        description="Patterns of the subjects that it may delegate to, besides `<subject>/<name>`.",
        examples=[["agent:team/*"]],
    )
    max_depth: int | None = Field(
        default=None,
        description="How many generations may be delegated from it. 0: none. Null: 16.",
    )
    addresses: list[str] = Field(
        default=[],
        description="The networks (CIDR) that callers may use it from. Empty: all networks.",
        examples=[["10.0.0.0/8"]],
    )
    verifier: dict[str, str] = Field(
        default={}, description="Labels that a verifier must have (RESCIND_LABELS) to accept it."
    )
    user_agent: str | None = Field(
        default=None,
        description="For a session: the browser or program of the log-in.",
        max_length=4096,
    )
    address: str | None = Field(
        default=None, description="For a session: the IP address of the log-in.", max_length=64
    )
    sidecars: SidecarBindingRequest | None = Field(
        default=None,
        description="For a credential (scope `rescind:verify`), which needs `rescind:enrol`.",
    )
    self_service: list[Right] | None = Field(
        default=None,
        description="What its holder may do at the authority with the token alone. Left out: "
        "everything, or nothing if it has an audience without `rescind`, or verifier labels.",
    )
    max_overlap: float | None = Field(
        default=None,
        description="The longest overlap, in seconds, that its holder may choose in a rotation. "
        "Left out: one hour.",
    )
    on_reuse: OnReuse = Field(
        default=OnReuse.REVOKE,
        description="The effect if the old secret is used after the overlap. With `revoke` the "
        "holder cannot choose `deny` in a rotation, because one of two holders is a thief.",
    )
    idle: float | None = Field(
        default=None,
        description="For a session: the seconds without use after which it ends, up to some "
        "minutes later. 0: never. Left out: RESCIND_SESSION_IDLE of the authority.",
    )


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
    max_depth: int | None = Field(description="How many generations may be delegated from it.")
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


class HoldFacts(BaseModel):
    """A revocation that applies to a token."""

    id: str
    effect: str
    seq: int
    selector: list[str] = Field(description="Handles that the token has all of.")
    scopes: list[str] = Field(description="The scopes that a `narrow` removes.")
    issued_before: datetime | None
    until: datetime | None = Field(description="The time at which it is lifted.")
    reason: str
    actor: str
    committed_at: datetime


class ListedToken(TokenFacts):
    """A token, and the revocations that apply to it."""

    last_used_at: datetime | None
    user_agent: str | None
    address: str | None
    holds: list[HoldFacts]
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
    scopes_removed: list[str] = Field(description="The patterns that narrows remove.")
    rotated_at: datetime | None = Field(
        description="The time at which the given secret was replaced; `expires_at` and `ended_seq` "
        "are then those of the secret. Null: it is the current secret, or an id was given."
    )
    as_of: int = Field(description="The ledger's seq in the snapshot.")
    at: datetime = Field(description="The authority's time in the snapshot.")
    ended_reason: str | None = Field(
        description="The reason in the event that ended it early, if it is known."
    )


class LookRequest(BaseModel):
    """A token's secret."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    token: str


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    summary="Issue a token",
    responses={
        200: {"model": IssuedToken, "description": "A repeat: issued before, no secret."},
        **problems.openapi_responses({409: "A standing suspension would hold it."}),
    },
)
async def issue(
    body: IssueRequest,
    response: Response,
    actor: IssuerActor,
    key: IdempotencyKey,
    authority: Authority,
) -> IssuedToken:
    """Issue a token. Only this response shows its secret; only the secret's SHA-256 is stored.

    Scopes of applications need `rescind:issue`. An admin token, a scope that meets `rescind:*` and
    the audience `rescind` need `rescind:admin`, and also each scope of the new token. The
    credential of sidecars needs `rescind:enrol`.
    """
    wish = IssueCommand(
        subject=body.subject,
        kind=body.kind,
        scopes=body.scopes,
        audience=body.audience,
        ttl_s=body.ttl,
        labels=body.labels,
        tenant=body.tenant,
        client=body.client,
        session=body.session,
        not_before_us=timestamps.maybe_to_us(body.not_before),
        may_speak_for=body.may_speak_for,
        max_depth=body.max_depth,
        addresses=body.addresses,
        verifier=body.verifier,
        user_agent=body.user_agent,
        address=body.address,
        sidecars=None
        if body.sidecars is None
        else Binding(body.sidecars.posture, body.sidecars.instances),
        self_service=body.self_service,
        max_overlap_s=body.max_overlap,
        reuse_denies=body.on_reuse is OnReuse.DENY,
        idle_s=body.idle,
    )
    outcome = await authority.issuer.issue(
        wish,
        actor=actor,
        idempotency=bind_key("POST /v1/tokens", body, owner=actor.subject, key=key),
    )
    return await issued(outcome, response, authority)


async def issued(
    outcome: Minted | Repeated, response: Response, authority: Authority
) -> IssuedToken:
    """Return a new token, or a repeated one without its secret, which is not stored."""
    response.headers["Cache-Control"] = "no-store"
    match outcome:
        case Minted():
            return _minted(outcome)
        case Repeated(token_id):
            response.status_code = status.HTTP_200_OK
            return IssuedToken(**_facts(await authority.inspector.token(token_id)), token=None)


@router.get("/{token_id}", summary="Look at a token", responses=_NO_TOKEN)
async def look(token_id: str, _actor: Reader, authority: Authority) -> LookedAtToken:
    """Return one token: its facts, its state, and the revocations that apply to it."""
    return await _looked_at(await authority.inspector.token(token_id), authority)


@router.post("/look", summary="Look at a token that you hold", responses=_NO_TOKEN)
async def look_presented(
    body: LookRequest, response: Response, _actor: Reader, authority: Authority
) -> LookedAtToken:
    """Return the token that has a secret. The response contains its id, but not the secret."""
    response.headers["Cache-Control"] = "no-store"
    return await _looked_at(await authority.inspector.presented(body.token), authority)


def _minted(minted: Minted) -> IssuedToken:
    facts = _granted(minted.token.grant, minted.issued, State.ACTIVE)
    return IssuedToken(token=minted.secret.reveal(), **facts)


async def _looked_at(seen: SeenToken, authority: Authority) -> LookedAtToken:
    retired = seen.token.retired
    return LookedAtToken(
        **listed(seen),
        denied=seen.denied,
        scopes_left=list(seen.scopes),
        scopes_removed=list(seen.removed),
        rotated_at=None if retired is None else timestamps.from_us(retired.at_us),
        as_of=seen.as_of,
        at=timestamps.from_us(seen.at_us),
        ended_reason=await authority.inspector.why_ended(seen),
    )


def listed(seen: SeenToken) -> dict[str, Any]:
    """Return the fields of a ListedToken."""
    return {
        **_facts(seen),
        "last_used_at": timestamps.maybe_from_us(seen.token.last_used_at_us),
        "user_agent": seen.token.grant.device.user_agent,
        "address": seen.token.grant.device.address,
        "holds": [_hold(event) for event in seen.holds],
        "ended_seq": None if seen.token.ended is None else seen.token.ended.seq,
        "ended_by": None if seen.token.ended is None else seen.token.ended.revocation_id or None,
    }


def _hold(event: Event) -> HoldFacts:
    revocation = event.revocation
    return HoldFacts(
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


def _policy(mandate: DelegationLimits) -> dict[str, Any]:
    rights = mandate.self_service
    return {
        "self_service": None if rights is None else list(rights),
        "max_overlap": mandate.max_overlap_us / 1_000_000,
        "on_reuse": OnReuse.DENY if mandate.reuse_denies else OnReuse.REVOKE,
    }


def _seconds(us: int | None) -> float | None:
    return None if us is None else us / 1_000_000


def _facts(seen: SeenToken) -> dict[str, Any]:
    token = seen.token
    issued = IssueTimes(token.issued_at_us, token.issued_seq, token.expires_at_us)
    return _granted(token.grant, issued, seen.state)


def _granted(grant: TokenGrant, issued: IssueTimes, state: State) -> dict[str, Any]:
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
        "may_speak_for": list(grant.mandate.may_speak_for),
        "max_depth": grant.mandate.max_depth,
        "addresses": list(grant.conditions.addresses),
        "verifier": dict(grant.conditions.verifier),
        **_policy(grant.mandate),
        "idle": _seconds(grant.idle_us),
        "handles": list(grant.handles),
        "issued_at": timestamps.from_us(issued.issued_at_us),
        "issued_seq": issued.issued_seq,
        "not_before": timestamps.maybe_from_us(grant.not_before_us),
        "expires_at": timestamps.from_us(issued.expires_at_us),
        "created_by": grant.created_by,
        "state": state,
    }
