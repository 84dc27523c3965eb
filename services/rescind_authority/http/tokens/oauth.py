"""`/oauth/token`: delegation by OAuth's token exchange (RFC 8693).

The subject token is the parent: the delegated power is its own, and it authorises the request, so
no client is authenticated. OAuth has no parameter for the subject of the new token; the extension
`subject` names it. The other extensions are `ttl` and `max_depth`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, Request, status
from starlette.responses import JSONResponse, Response

from rescind.core import token_format
from rescind.core.token_format import Kind
from rescind.errors import RescindError
from rescind_authority.errors import (
    ActiveRevocationError,
    BeyondParentError,
    CommitUnknownError,
    FieldError,
    InvalidRequestError,
    KeyReusedError,
    NoIssuerError,
    OverloadedError,
    StoreUnavailableError,
    TooManyChangesError,
    UnauthenticatedError,
)
from rescind_authority.http import problems
from rescind_authority.http.dependencies import (
    Authority,
    IdempotencyKey,
    UseCases,
    address_of,
    bind_key,
)
from rescind_authority.http.tokens.delegations import DelegationRequest
from rescind_authority.usecases.access.change_budgets import Cost
from rescind_authority.usecases.tokens.delegate import DelegateCommand
from rescind_authority.usecases.tokens.new_token import Minted, Repeated

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 the name of a type

router = APIRouter(tags=["oauth"])

_FORM = "application/x-www-form-urlencoded"
_REPEATABLE = frozenset({"audience", "resource"})
_MAX_FIELDS = 200
_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_ERRORS = {"scopes": "invalid_scope", "audience": "invalid_target"}
_AGAIN = (CommitUnknownError, OverloadedError, StoreUnavailableError)
_REFUSALS = (
    BeyondParentError,
    ActiveRevocationError,
    InvalidRequestError,
    KeyReusedError,
    UnauthenticatedError,
)
_PARAMETERS = {
    "grant_type": EXCHANGE,
    "subject_token": "The parent token.",
    "subject_token_type": ACCESS_TOKEN,
    "requested_token_type": f"{ACCESS_TOKEN}, or left out.",
    "subject": "The subject of the new token: `<the parent's subject>/<name>`.",
    "scope": "Scopes of the parent's, with spaces between them.",
    "audience": "A service of the parent's audience; may be sent several times.",
    "ttl": "Lifetime in seconds.",
    "max_depth": "How many generations may be delegated from it. 0: none.",
}
_BODY = {
    "required": True,
    "content": {
        _FORM: {
            "schema": {
                "type": "object",
                "required": [
                    "grant_type",
                    "subject_token",
                    "subject_token_type",
                    "subject",
                    "scope",
                ],
                "properties": {
                    name: {"type": "string", "description": text}
                    for name, text in _PARAMETERS.items()
                },
            }
        }
    },
}


class OAuthError(RescindError):
    """Raised for an invalid request, with an error code of RFC 6749 (5.2)."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__(description)
        self.code = code


@dataclass(frozen=True, slots=True)
class Exchange:
    """The request of a token exchange; `parent` is the secret in `subject_token`."""

    parent: str
    body: DelegationRequest


async def form(request: Request) -> Mapping[str, Sequence[str]]:
    """Read the form of a request; an empty parameter counts as omitted (RFC 6749, 3.2)."""
    found: dict[str, list[str]] = {}
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() == _FORM:
        try:
            text = (await request.body()).decode("ascii")
            pairs = parse_qsl(text, errors="strict", max_num_fields=_MAX_FIELDS)
        except ValueError:
            pairs = []
        for name, value in pairs:
            found.setdefault(name, []).append(value)
    return found


@router.post(
    "/oauth/token",
    summary="Exchange a token for one with a part of its power (RFC 8693)",
    openapi_extra={"requestBody": _BODY},
    responses={
        400: {"description": "RFC 6749, 5.2: `error` and `error_description`."},
        429: {"description": "The same, with `Retry-After`: too many changes by this token."},
        503: {"description": "The same: `temporarily_unavailable`."},
        **problems.openapi_responses(
            {413: "The body is too large.", 422: "The Idempotency-Key is invalid."}
        ),
    },
)
async def token(
    sent: Annotated[Mapping[str, Sequence[str]], Depends(form)],
    key: IdempotencyKey,
    authority: Authority,
    request: Request,
) -> Response:
    """Delegate, as `POST /v1/delegations` does; the subject token is the parent."""
    try:
        return await _exchange(_parse_exchange(sent), request, key=key, authority=authority)
    except _AGAIN as error:
        return _error_response(
            "temporarily_unavailable",
            str(error),
            status_code=status.HTTP_503_SERVICE_UNAVAILABLE,
            headers={"Retry-After": "1", "Idempotency-Key": key},
        )
    except TooManyChangesError as error:
        return _error_response(
            "temporarily_unavailable",
            str(error),
            status_code=status.HTTP_429_TOO_MANY_REQUESTS,
            headers={"Retry-After": str(error.retry_after_s), "Idempotency-Key": key},
        )
    except OAuthError as error:
        return _error_response(error.code, str(error))
    except _REFUSALS as error:
        problems.note_refusal(request, error)
        return _error_response(_code_of(error), str(error))


async def _exchange(
    exchange: Exchange, request: Request, *, key: str, authority: UseCases
) -> Response:
    body = exchange.body
    holder = await authority.authoriser.holder(exchange.parent, address=address_of(request))
    request.state.caller = holder.name
    parent = holder.record
    authority.budgets.take(parent, Cost.DELEGATION)
    outcome = await authority.delegator.delegate(
        DelegateCommand(
            subject=body.subject,
            kind=Kind.AGENT,
            scopes=body.scopes,
            audience=body.audience,
            ttl_s=body.ttl,
            labels={},
            max_depth=body.max_depth,
        ),
        parent_hash=parent.token_hash,
        idempotency=bind_key("POST /oauth/token", body, owner=parent.token_id, key=key),
    )
    return _token_response(outcome)


@router.get(
    "/.well-known/oauth-authorization-server",
    summary="Read the OAuth server metadata (RFC 8414)",
    responses=problems.openapi_responses(
        {404: "This authority has no issuer: RESCIND_ISSUER is not set."}
    ),
)
async def metadata(request: Request) -> dict[str, Any]:
    """Return the metadata of the authorization server.

    The issuer is RESCIND_ISSUER, else the address at which the authority listens, and never depends
    on the request. An authority that listens at every address has no issuer without the setting.
    """
    issuer: str | None = request.app.state.issuer
    if issuer is None:
        raise NoIssuerError
    return {
        "issuer": issuer,
        "token_endpoint": f"{issuer}/oauth/token",
        "grant_types_supported": [EXCHANGE],
        "token_endpoint_auth_methods_supported": ["none"],
        "response_types_supported": [],
    }


def _parse_exchange(sent: Mapping[str, Sequence[str]]) -> Exchange:
    for name, values in sent.items():
        if len(values) > 1 and name not in _REPEATABLE:
            raise OAuthError("invalid_request", f"{name} was sent more than once.")
    one = {name: values[0] for name, values in sent.items()}
    _require_exchange(one)
    for name in ("subject_token", "subject"):
        if name not in one:
            raise OAuthError("invalid_request", f"send a {name}: {_PARAMETERS[name]}")
    if "scope" not in one:
        raise OAuthError(
            "invalid_scope", "send a scope: the new token gets only the scopes that it names."
        )
    body = DelegationRequest(
        subject=one["subject"],
        scopes=one["scope"].split(),
        audience=list(sent.get("audience", ())),
        ttl=_parse_number("ttl", one),
        max_depth=_parse_number("max_depth", one),
    )
    return Exchange(one["subject_token"], body)


def _require_exchange(one: Mapping[str, str]) -> None:
    if "grant_type" not in one:
        raise OAuthError("invalid_request", f"send a form ({_FORM}) with a grant_type: {EXCHANGE}.")
    if one["grant_type"] != EXCHANGE:
        raise OAuthError("unsupported_grant_type", f"this is for {EXCHANGE}.")
    types = {"requested_token_type": ACCESS_TOKEN, "subject_token_type": "", **one}
    for name in ("subject_token_type", "requested_token_type"):
        if types[name] != ACCESS_TOKEN:
            raise OAuthError("invalid_request", f"{name} must be {ACCESS_TOKEN}.")
    if "actor_token" in one or "actor_token_type" in one:
        raise OAuthError("invalid_request", "the subject_token alone authorises: no actor_token.")
    if "resource" in one:
        raise OAuthError("invalid_target", "name services by audience, not by resource.")


def _parse_number(name: str, one: Mapping[str, str]) -> int | None:
    text = one.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 10):  # noqa: PLR2004 some 30 years
        raise OAuthError("invalid_request", f"{name} must be a whole number.")
    return int(text)


def _token_response(outcome: Minted | Repeated) -> Response:
    match outcome:
        case Repeated(token_id):
            return _error_response(
                "invalid_request",
                f"{token_id} was issued with this Idempotency-Key before, and is shown only once.",
            )
        case Minted(secret, token, issued):
            left_us = issued.expires_at_us - issued.issued_at_us
            return JSONResponse(
                {
                    "access_token": secret.reveal(),
                    "issued_token_type": ACCESS_TOKEN,
                    "token_type": "Bearer",
                    "expires_in": left_us // 1_000_000,
                    "scope": " ".join(token.grant.scopes),
                    "token_id": token.grant.token_id,
                },
                headers=_NO_STORE,
            )


def _code_of(error: RescindError) -> str:
    match error:
        case InvalidRequestError() | BeyondParentError():
            return _ERRORS.get(_first_field(error.problems), "invalid_request")
        case _:
            return "invalid_request"  # RFC 8693, 2.2.2: also for a bad subject token


def _first_field(problems: Sequence[FieldError]) -> str:
    return next((problem.field for problem in problems if problem.field in _ERRORS), "")


def _error_response(
    code: str,
    description: str,
    *,
    status_code: int = status.HTTP_400_BAD_REQUEST,
    headers: Mapping[str, str] | None = None,
) -> Response:
    return JSONResponse(
        {"error": code, "error_description": _to_description(description)},
        status_code=status_code,
        headers={**_NO_STORE, **(headers or {})},
    )


def _to_description(text: str) -> str:
    """Replace the characters that RFC 6749 (5.2) does not allow in a description."""
    plain = token_format.hidden(text).replace('"', "'").replace("\\", "/").replace("\n", " ")
    return plain.encode("ascii", "replace").decode()
