"""`/v1/tokens`: issue, look."""

from datetime import datetime
from typing import Any

from fastapi import APIRouter, Response, status
from pydantic import BaseModel, ConfigDict, Field

from rescind.core.revocation import Event
from rescind.core.tokens import Kind
from rescind.core.verdict import Reason
from rescind_authority.http import problems, times
from rescind_authority.http.context import (
    Authority,
    IdempotencyKey,
    IssuerActor,
    Reader,
    claim,
)
from rescind_authority.ports.enrolments import Binding
from rescind_authority.usecases.enrol import MOST_INSTANCES
from rescind_authority.usecases.facts import DEFAULT_TTL_S
from rescind_authority.usecases.issue import Wish
from rescind_authority.usecases.look import SeenToken, State
from rescind_authority.usecases.mint import Minted, Repeated

router = APIRouter(prefix="/v1/tokens", tags=["tokens"])

_NO_TOKEN = problems.told({404: "There is no such token."})


class SidecarBinding(BaseModel):
    """What the sidecars that enrol with a credential are bound to."""

    model_config = ConfigDict(extra="forbid")

    posture: str = Field(
        default="strict",
        description="The most lenient one that they may declare.",
        examples=["grace:session=60s,service=5m"],
    )
    instances: int | None = Field(
        default=None,
        description=f"How many there may be at once; left out, {MOST_INSTANCES}. Within an hour "
        "ten times as many may have a lease.",
    )


class IssueRequest(BaseModel):
    """What the new token is to be."""

    model_config = ConfigDict(extra="forbid")

    subject: str = Field(description="Whom it speaks for.", examples=["agent:billing-bot"])
    kind: Kind = Field(description="What holds it.")
    scopes: list[str] = Field(default=[], examples=[["tools:call"]])
    audience: list[str] = Field(
        default=[], description="The services that may accept it; none named means every one."
    )
    ttl: float = Field(default=DEFAULT_TTL_S, description="Lifetime in seconds.")
    not_before: times.Moment | None = Field(
        default=None, description="Not good before: RFC 3339, or Unix seconds."
    )
    labels: dict[str, str] = {}
    tenant: str | None = None
    client: str | None = None
    session: str | None = None
    may_speak_for: list[str] = Field(
        default=[],
        description="Patterns of subjects that it may delegate to, besides `<subject>/<name>`.",
        examples=[["agent:team/*"]],
    )
    max_depth: int | None = Field(
        default=None,
        description="How many generations may be delegated from it; 0 forbids it, null means 16.",
    )
    addresses: list[str] = Field(
        default=[],
        description="Networks (CIDR) that a caller's address lies in one of; none: from anywhere.",
        examples=[["10.0.0.0/8"]],
    )
    verifier: dict[str, str] = Field(
        default={}, description="Labels that a verifier has all of, as its RESCIND_LABELS say."
    )
    user_agent: str | None = Field(
        default=None, description="Of a session: what its owner logged in with.", max_length=4096
    )
    address: str | None = Field(
        default=None, description="Of a session: from where, an IP address.", max_length=64
    )
    sidecars: SidecarBinding | None = Field(
        default=None,
        description="Of a credential (scope `rescind:verify`), which needs `rescind:enrol`.",
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
    lineage: list[str] = Field(description="Token ids from the root of the delegation down.")
    chain: list[str] = Field(description="Their subjects.")
    may_speak_for: list[str] = Field(description="To whom it may delegate, besides its own.")
    max_depth: int | None = Field(description="How many generations may come below it.")
    addresses: list[str] = Field(description="From where it is good; none: from anywhere.")
    verifier: dict[str, str] = Field(description="At verifiers with these labels alone.")
    handles: list[str] = Field(description="By what a revocation can hit it.")
    issued_at: datetime
    issued_seq: int = Field(description="The ledger's seq at which it was issued.")
    not_before: datetime | None
    expires_at: datetime
    created_by: str
    state: State


class IssuedToken(TokenFacts):
    """A new token. A repeat under the same Idempotency-Key has no secret any more."""

    token: str | None = Field(description="The secret: shown this once.")


class HoldFacts(BaseModel):
    """A revocation that applies to a token."""

    id: str
    effect: str
    seq: int
    selector: list[str] = Field(description="The token has each of these among its handles.")
    scopes: list[str] = Field(description="What a `narrow` takes away.")
    issued_before: datetime | None
    until: datetime | None = Field(description="When it ends by itself.")
    reason: str
    actor: str
    committed_at: datetime


class ListedToken(TokenFacts):
    """A token, and what holds it."""

    last_used_at: datetime | None
    user_agent: str | None
    address: str | None
    holds: list[HoldFacts]
    ended_seq: int | None = Field(
        description="The seq of the event that ended it early, for good; 0 where that was before "
        "positions were kept. null: it was not ended early."
    )
    ended_by: str | None = Field(description="The id of that event, if it is known.")


class LookedAtToken(ListedToken):
    """A token as one snapshot shows it, and what a verifier makes of it."""

    denied: Reason | None = Field(description="Why every verifier denies it; null: none does.")
    scopes_left: list[str] = Field(
        description="What verifiers tell as its scopes: those of which no hold takes any part away."
    )
    scopes_removed: list[str] = Field(description="The patterns that narrows take away.")
    as_of: int = Field(description="The ledger's seq in the snapshot.")
    at: datetime = Field(description="The authority's time in the snapshot.")


class LookRequest(BaseModel):
    """The token that somebody holds in hands."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    token: str


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    summary="Issue a token",
    responses={
        200: {"model": IssuedToken, "description": "A repeat: issued before, no secret."},
        **problems.told({409: "A standing suspension would hold it."}),
    },
)
async def issue(
    asked: IssueRequest,
    response: Response,
    actor: IssuerActor,
    key: IdempotencyKey,
    authority: Authority,
) -> IssuedToken:
    """Issue a token. This is the only time its secret is shown; only its SHA-256 is kept.

    Scopes of applications need `rescind:issue`. An admin token, a scope that meets `rescind:*` and
    the audience `rescind` need `rescind:admin` and each scope of the new token besides; the
    credential of sidecars needs `rescind:enrol`.
    """
    wish = Wish(
        subject=asked.subject,
        kind=asked.kind,
        scopes=asked.scopes,
        audience=asked.audience,
        ttl_s=asked.ttl,
        labels=asked.labels,
        tenant=asked.tenant,
        client=asked.client,
        session=asked.session,
        not_before_us=times.maybe_to_us(asked.not_before),
        may_speak_for=asked.may_speak_for,
        max_depth=asked.max_depth,
        addresses=asked.addresses,
        verifier=asked.verifier,
        user_agent=asked.user_agent,
        address=asked.address,
        sidecars=None
        if asked.sidecars is None
        else Binding(asked.sidecars.posture, asked.sidecars.instances),
    )
    outcome = await authority.issuer.issue(
        wish, actor=actor, claim=claim("POST /v1/tokens", asked, actor=actor, key=key)
    )
    return await issued(outcome, response, authority)


async def issued(
    outcome: Minted | Repeated, response: Response, authority: Authority
) -> IssuedToken:
    """Answer with a new token, or with a repeated one, whose secret nobody has any more."""
    response.headers["Cache-Control"] = "no-store"
    match outcome:
        case Minted():
            return _minted(outcome)
        case Repeated(token_id):
            response.status_code = status.HTTP_200_OK
            return IssuedToken(**_facts(await authority.looker.token(token_id)), token=None)


@router.get("/{token_id}", summary="Look at a token", responses=_NO_TOKEN)
async def look(token_id: str, _actor: Reader, authority: Authority) -> LookedAtToken:
    """Look at one token: its facts, its state, and which revocations hold it."""
    return _looked_at(await authority.looker.token(token_id))


@router.post("/look", summary="Look at a token that you hold", responses=_NO_TOKEN)
async def look_presented(
    asked: LookRequest, response: Response, _actor: Reader, authority: Authority
) -> LookedAtToken:
    """Look at a token whose id is not known; the answer has the id and not the secret."""
    response.headers["Cache-Control"] = "no-store"
    return _looked_at(await authority.looker.presented(asked.token))


def _minted(minted: Minted) -> IssuedToken:
    token = minted.token
    return IssuedToken(
        token=minted.secret.reveal(),
        token_id=token.token_id,
        kind=token.kind,
        subject=token.subject,
        scopes=list(token.scopes),
        audience=list(token.audience),
        tenant=token.tenant,
        client=token.client,
        session=token.session,
        labels=dict(token.labels),
        lineage=list(token.lineage),
        chain=list(token.chain),
        may_speak_for=list(token.mandate.may_speak_for),
        max_depth=token.mandate.max_depth,
        addresses=list(token.conditions.addresses),
        verifier=dict(token.conditions.verifier),
        handles=list(token.handles),
        issued_at=times.from_us(minted.issued.issued_at_us),
        issued_seq=minted.issued.issued_seq,
        not_before=times.maybe_from_us(token.not_before_us),
        expires_at=times.from_us(minted.issued.expires_at_us),
        created_by=token.created_by,
        state=State.ACTIVE,
    )


def _looked_at(seen: SeenToken) -> LookedAtToken:
    return LookedAtToken(
        **listed(seen),
        denied=seen.denied,
        scopes_left=list(seen.scopes),
        scopes_removed=list(seen.removed),
        as_of=seen.as_of,
        at=times.from_us(seen.at_us),
    )


def listed(seen: SeenToken) -> dict[str, Any]:
    """Give the facts of a ListedToken."""
    return {
        **_facts(seen),
        "last_used_at": times.maybe_from_us(seen.token.last_used_at_us),
        "user_agent": seen.token.device.user_agent,
        "address": seen.token.device.address,
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
        issued_before=times.maybe_from_us(revocation.issued_before_us),
        until=times.maybe_from_us(revocation.until_us),
        reason=revocation.reason,
        actor=revocation.actor,
        committed_at=times.from_us(event.at_us),
    )


def _facts(seen: SeenToken) -> dict[str, Any]:
    token = seen.token
    return {
        "token_id": token.token_id,
        "kind": token.kind,
        "subject": token.subject,
        "scopes": list(token.scopes),
        "audience": list(token.audience),
        "tenant": token.tenant,
        "client": token.client,
        "session": token.session,
        "labels": dict(token.labels),
        "lineage": list(token.lineage),
        "chain": list(token.chain),
        "may_speak_for": list(token.mandate.may_speak_for),
        "max_depth": token.mandate.max_depth,
        "addresses": list(token.conditions.addresses),
        "verifier": dict(token.conditions.verifier),
        "handles": list(token.handles),
        "issued_at": times.from_us(token.issued_at_us),
        "issued_seq": token.issued_seq,
        "not_before": times.maybe_from_us(token.not_before_us),
        "expires_at": times.from_us(token.expires_at_us),
        "created_by": token.created_by,
        "state": seen.state,
    }
