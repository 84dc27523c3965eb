"""`/v1/tokens`: issue a token, and look at one."""

from fastapi import APIRouter, Response, status

from rescind_authority.http import problems, timestamps
from rescind_authority.http.dependencies import (
    IdempotencyKey,
    InjectedUseCases,
    IssuerActor,
    Reader,
    bind_key,
)
from rescind_authority.http.tokens import requests, responses
from rescind_authority.http.tokens.requests import IssueRequest, LookRequest
from rescind_authority.http.tokens.responses import IssuedToken, LookedAtToken
from rescind_authority.usecases.read_model.inspector import SeenToken
from rescind_authority.usecases.tokens.new_token import Minted, Repeated

router = APIRouter(prefix="/v1/tokens", tags=["tokens"])

_NO_TOKEN = problems.openapi_responses({404: "There is no such token."})


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    summary="Issue a token",
    responses={
        200: {"model": IssuedToken, "description": "A repeat: issued before, no secret."},
        **problems.openapi_responses({409: "A standing suspension hits the new token."}),
    },
)
async def issue(
    body: IssueRequest,
    response: Response,
    actor: IssuerActor,
    key: IdempotencyKey,
    use_cases: InjectedUseCases,
) -> IssuedToken:
    """Issue a token. Only this response shows its secret; only the secret's SHA-256 is stored.

    Scopes of applications need `rescind:issue`. An admin token, a scope that meets `rescind:*` and
    the audience `rescind` need `rescind:admin`, and also each scope of the new token. The
    credential of sidecars needs `rescind:enrol`.
    """
    outcome = await use_cases.issuer.issue(
        requests.to_command(body),
        actor=actor,
        idempotency=bind_key("POST /v1/tokens", body, owner=actor.subject, key=key),
    )
    return await issued(outcome, response, use_cases)


async def issued(
    outcome: Minted | Repeated, response: Response, use_cases: InjectedUseCases
) -> IssuedToken:
    """Return a new token, or a repeated one without its secret, which is not stored."""
    response.headers["Cache-Control"] = "no-store"
    match outcome:
        case Minted():
            return responses.minted_of(outcome)
        case Repeated(token_id):
            response.status_code = status.HTTP_200_OK
            return IssuedToken(
                **responses.facts_of(await use_cases.inspector.token(token_id)), token=None
            )


@router.get("/{token_id}", summary="Look at a token", responses=_NO_TOKEN)
async def look(token_id: str, _actor: Reader, use_cases: InjectedUseCases) -> LookedAtToken:
    """Return one token: its facts, its state, and the revocations that apply to it."""
    return await _facts_of(await use_cases.inspector.token(token_id), use_cases)


@router.post("/look", summary="Look at a token that you hold", responses=_NO_TOKEN)
async def look_presented(
    body: LookRequest, response: Response, _actor: Reader, use_cases: InjectedUseCases
) -> LookedAtToken:
    """Return the token that has a secret. The response contains its id, but not the secret."""
    response.headers["Cache-Control"] = "no-store"
    return await _facts_of(await use_cases.inspector.presented(body.token), use_cases)


async def _facts_of(seen: SeenToken, use_cases: InjectedUseCases) -> LookedAtToken:
    retired = seen.token.retired
    return LookedAtToken(
        **responses.listed(seen),
        denied=seen.denied,
        scopes_left=list(seen.scopes),
        scopes_removed=list(seen.removed),
        rotated_at=None if retired is None else timestamps.from_us(retired.at_us),
        as_of=seen.as_of,
        at=timestamps.from_us(seen.at_us),
        ended_reason=await use_cases.inspector.why_ended(seen),
    )
