"""`POST /oauth/token`: tokens for clients (RFC 6749, 4.4), and token exchange (RFC 8693)."""

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from rescind.core import scopes
from rescind_authority.http.dependencies import IdempotencyKey, InjectedUseCases, UseCases, bind_key
from rescind_authority.http.oauth.exchange import ACCESS_TOKEN, exchange
from rescind_authority.http.oauth.requests import (
    ERRORS,
    OAuthForm,
    OAuthRequest,
    authenticate,
    form_body,
)
from rescind_authority.http.oauth_errors import NO_STORE, OAuthError
from rescind_authority.usecases.oauth.client_tokens import ClientTokenRequest
from rescind_authority.usecases.oauth.registration import GrantType
from rescind_authority.usecases.tokens.new_token import Minted, Repeated

router = APIRouter(tags=["oauth"])

_GRANTS = " or ".join(GrantType)
_PARAMETERS = {
    "grant_type": _GRANTS,
    "scope": "Scopes, with spaces between them. Left out: all that may be had.",
    "audience": "A service at which the token is good; may be sent several times.",
    "resource": "The same, as a URL (RFC 8707).",
    "client_id": "The client; or send the id and the secret by HTTP Basic.",
    "client_secret": "Its secret.",
    "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
    "client_assertion": "A JWT that the client signed, in place of its secret (RFC 7523).",
    "subject_token": "Exchange: the parent token.",
    "subject_token_type": f"Exchange: {ACCESS_TOKEN}",
    "requested_token_type": f"Exchange: {ACCESS_TOKEN}, or left out.",
    "actor_token": "Exchange: a token of the subject of the new token.",
    "actor_token_type": f"Exchange: {ACCESS_TOKEN}",
    "subject": "Exchange: the subject of the new token. Left out: `<the parent's subject>/<name>`.",
    "ttl": "Exchange: lifetime in seconds.",
    "max_depth": "Exchange: how many levels of descendants it may have. 0: none.",
}


class _ClientTokenBody(BaseModel):
    """The parameters of a request for a client's token that count for its idempotency key."""

    scopes: list[str]
    audience: list[str]


@router.post(
    "/oauth/token",
    summary="Get a token as a client, or exchange one for a part of its permissions",
    openapi_extra=form_body(["grant_type"], _PARAMETERS),
    responses=ERRORS,
)
async def token(
    sent: OAuthForm, key: IdempotencyKey, use_cases: InjectedUseCases, request: Request
) -> Response:
    """Issue a token. The response is the only one that contains it.

    A client authenticates by HTTP Basic, by the form, or by a signed assertion. A token exchange
    is authorised by its subject token, and needs no client.
    """
    match sent.values.get("grant_type"):
        case None:
            raise OAuthError("invalid_request", f"send a grant_type: {_GRANTS}.")
        case GrantType.CLIENT_CREDENTIALS:
            return _respond(await _issue_to_client(sent, request, key=key, use_cases=use_cases))
        case GrantType.TOKEN_EXCHANGE:
            outcome = await exchange(sent, request, key=key, use_cases=use_cases)
            return _respond(outcome, {"issued_token_type": ACCESS_TOKEN})
        case _:
            raise OAuthError("unsupported_grant_type", f"supported: {_GRANTS}.")


async def _issue_to_client(
    sent: OAuthRequest, request: Request, *, key: str, use_cases: UseCases
) -> Minted | Repeated:
    client = await authenticate(sent, request, use_cases)
    body = _ClientTokenBody(
        scopes=sent.values.get("scope", "").split(),
        audience=list(sent.all("audience", "resource")),
    )
    return await use_cases.client_tokens.issue(
        client,
        ClientTokenRequest(body.scopes, body.audience),
        idempotency=bind_key("POST /oauth/token", body, owner=client.credential.subject, key=key),
    )


def _respond(outcome: Minted | Repeated, more: dict[str, Any] | None = None) -> Response:
    match outcome:
        case Repeated(token_id):
            raise OAuthError(
                "invalid_request",
                f"{token_id} was issued with this Idempotency-Key before, and is shown only once.",
            )
        case Minted(secret, new_token, issued, removed):
            lifetime_us = issued.expires_at_us - issued.issued_at_us
            return JSONResponse(
                {
                    "access_token": secret.reveal(),
                    "token_type": "Bearer",
                    "expires_in": lifetime_us // 1_000_000,
                    # RFC 6749, section 5.1: those that the token has, if not all requested ones.
                    "scope": " ".join(sorted(scopes.remaining(new_token.grant.scopes, removed))),
                    "token_id": new_token.grant.token_id,
                    **(more or {}),
                },
                headers=NO_STORE,
            )
