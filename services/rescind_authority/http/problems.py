"""Errors as `application/problem+json` (RFC 9457), with types that programs can rely on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from rescind.core import token_format
from rescind.errors import RescindError, TooLargeError
from rescind_authority import errors
from rescind_authority.http import oauth_errors
from rescind_authority.http.dependencies import mark_unauthenticated
from rescind_authority.http.oauth_errors import OAuthError
from rescind_authority.http.refusal_log import RefusalLog
from rescind_authority.ports.audit import RefusedCall

MEDIA_TYPE = "application/problem+json"
_REALM = 'Bearer realm="rescind"'
_RETRY = {"Retry-After": "1"}


class WrongField(BaseModel):
    """One invalid field, and the value that is expected there."""

    field: str = Field(examples=["subject"])
    detail: str = Field(examples=["expected <type>:<name>, such as agent:billing-bot"])


class Problem(BaseModel):
    """The reason for a refusal, and what to do next."""

    type: str = Field(examples=["urn:rescind:problem:invalid-request"])
    title: str
    status: int
    detail: str
    errors: list[WrongField] = []
    idempotency_key: str | None = Field(
        default=None, description="The key to retry with, if the outcome is unknown."
    )


@dataclass(frozen=True, slots=True)
class _Kind:
    slug: str
    status: HTTPStatus
    title: str
    headers: Mapping[str, str] | None = None


# The first class that fits, so the narrower ones come first.
_KINDS: tuple[tuple[type[RescindError], _Kind], ...] = (
    (
        errors.InvalidRequestError,
        _Kind("invalid-request", HTTPStatus.UNPROCESSABLE_ENTITY, "Invalid request"),
    ),
    (
        errors.PreviewNeededError,
        _Kind("preview-needed", HTTPStatus.CONFLICT, "Preview required"),
    ),
    (
        errors.KeyReusedError,
        _Kind(
            "idempotency-key-reused",
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "Idempotency key of another request",
        ),
    ),
    (
        errors.UnauthenticatedError,
        _Kind("unauthenticated", HTTPStatus.UNAUTHORIZED, "Authentication required"),
    ),
    (
        errors.BeyondParentError,
        _Kind("beyond-parent", HTTPStatus.FORBIDDEN, "Request beyond the parent token"),
    ),
    (
        errors.StandingRevocationError,
        _Kind("held", HTTPStatus.CONFLICT, "Conflict with a revocation in force"),
    ),
    (errors.FinalError, _Kind("final", HTTPStatus.CONFLICT, "Final revocation")),
    (errors.LostError, _Kind("lost", HTTPStatus.CONFLICT, "Revocation lost in a restore")),
    (
        errors.AlteredReceiptError,
        _Kind("receipt-altered", HTTPStatus.INTERNAL_SERVER_ERROR, "Altered receipt details"),
    ),
    (
        TooLargeError,
        _Kind(
            "receipt-too-large",
            HTTPStatus.INTERNAL_SERVER_ERROR,
            "Too many verifiers for a receipt",
        ),
    ),
    (
        errors.TokenMovedError,
        _Kind("token-moved", HTTPStatus.CONFLICT, "Token changed meanwhile"),
    ),
    (errors.ForbiddenError, _Kind("forbidden", HTTPStatus.FORBIDDEN, "Missing scope")),
    (
        errors.SelfServiceError,
        _Kind("self-service", HTTPStatus.FORBIDDEN, "Missing right of the holder"),
    ),
    (
        errors.TooManyChangesError,
        _Kind("too-many-changes", HTTPStatus.TOO_MANY_REQUESTS, "Too many changes by one holder"),
    ),
    (
        errors.NotASessionError,
        _Kind("not-a-session", HTTPStatus.FORBIDDEN, "Session token required"),
    ),
    (errors.NoIssuerError, _Kind("not-found", HTTPStatus.NOT_FOUND, "No issuer")),
    (errors.ClientExistsError, _Kind("client-exists", HTTPStatus.CONFLICT, "Client exists")),
    (errors.AlteredClientError, _Kind("client-altered", HTTPStatus.CONFLICT, "Altered client")),
    (errors.NotFoundError, _Kind("not-found", HTTPStatus.NOT_FOUND, "Not found")),
    (
        errors.CommitUnknownError,
        _Kind(
            "outcome-unknown",
            HTTPStatus.SERVICE_UNAVAILABLE,
            "Unknown outcome",
            _RETRY,
        ),
    ),
    (
        errors.OverloadedError,
        _Kind("overloaded", HTTPStatus.SERVICE_UNAVAILABLE, "Overload", _RETRY),
    ),
    (
        errors.NotMigratedError,
        _Kind("not-migrated", HTTPStatus.SERVICE_UNAVAILABLE, "Missing database schema", _RETRY),
    ),
    (
        errors.StoreUnavailableError,
        _Kind("store-unavailable", HTTPStatus.SERVICE_UNAVAILABLE, "Postgres unavailable", _RETRY),
    ),
)
_DEFECT = _Kind("internal", HTTPStatus.INTERNAL_SERVER_ERROR, "Defect in rescind")
_DEFECT_DETAIL = (
    "this is a defect in the authority; its log names it. Nothing secret is shown here."
)


def openapi_responses(texts: Mapping[int, str]) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI entries of statuses whose body is a problem."""
    # Problem is among the document's schemas, because batches have outcomes with one.
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {"description": text, "content": {MEDIA_TYPE: {"schema": schema}}}
        for status, text in texts.items()
    }


def install(app: FastAPI, *, refused: Callable[[RefusedCall], None]) -> None:
    """Register handlers that return a problem for every error of an application.

    `refused` records refused calls.
    """
    app.state.refusals = RefusalLog(refused)
    app.add_exception_handler(RescindError, _handle_rescind_error)
    app.add_exception_handler(RequestValidationError, _handle_invalid_request)
    app.add_exception_handler(HTTPException, _handle_http_error)
    app.add_exception_handler(Exception, _handle_defect)


def response(error: RescindError, *, key: str | None = None) -> Response:
    """Return the problem response of an error; `key` is the command's idempotency key."""
    headers = dict(_kind_of(error).headers or {})
    match error:
        case errors.UnauthenticatedError():
            # RFC 6750, section 3.1: no error code if no token was sent.
            code = ', error="invalid_token"' if error.sent else ""
            headers["WWW-Authenticate"] = _REALM + code
        case errors.ForbiddenError():
            headers["WWW-Authenticate"] = (
                f'{_REALM}, error="insufficient_scope", scope="{error.scope}"'
            )
        case errors.TooManyChangesError():
            headers["Retry-After"] = str(error.retry_after_s)
        case _:
            pass
    return _to_response(problem(error, key=key), headers)


def problem(error: RescindError, *, key: str | None = None) -> Problem:
    """Return the problem document of an error."""
    kind = _kind_of(error)
    fields: Sequence[errors.FieldError] = ()
    if isinstance(error, errors.InvalidRequestError | errors.BeyondParentError):
        fields = error.problems
    unknown = isinstance(error, errors.CommitUnknownError)
    return _problem(
        kind,
        detail=_DEFECT_DETAIL if kind is _DEFECT else str(error),
        fields=fields,
        key=key if unknown else None,
    )


def _kind_of(error: RescindError) -> _Kind:
    return next((kind for known, kind in _KINDS if isinstance(error, known)), _DEFECT)


def response_at(path: str, error: RescindError, *, key: str | None = None) -> Response:
    """Return the response for an error at a path: OAuth's endpoints have errors of their own."""
    if path.startswith(oauth_errors.PATHS):
        return oauth_errors.response(error, key=key)
    return response(error, key=key)


def too_large(limit_bytes: int, *, path: str) -> Response:
    """Return the response for a body over the limit."""
    if path.startswith(oauth_errors.PATHS):
        return oauth_errors.too_large(limit_bytes)
    kind = _Kind("body-too-large", HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "Body too large")
    return _answer(kind, detail=f"send at most {limit_bytes} bytes.")


def unreadable(detail: str, *, path: str) -> Response:
    """Return the response for a body that is not text."""
    if path.startswith(oauth_errors.PATHS):
        return oauth_errors.response(OAuthError("invalid_request", detail))
    return _answer(_Kind("bad-request", HTTPStatus.BAD_REQUEST, "Bad Request"), detail=detail)


def note_refusal(request: Request, error: RescindError) -> None:
    """Log and audit a refused authentication or authorisation, at the rate of `RefusalLog`."""
    if isinstance(error, errors.UnauthenticatedError):
        mark_unauthenticated(request.scope)
    refusals: RefusalLog = request.app.state.refusals
    refusals.log_refusal(request, error, _kind_of(error).status)


async def _handle_rescind_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RescindError)  # noqa: S101 it was registered for this class
    note_refusal(request, error)
    key = getattr(request.state, "idempotency_key", None)
    return response_at(request.url.path, error, key=key)


async def _handle_invalid_request(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 the same
    return response(errors.InvalidRequestError(*(_field_error(each) for each in error.errors())))


async def _handle_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 the same
    status = HTTPStatus(error.status_code)
    details = {
        HTTPStatus.NOT_FOUND: f"there is nothing at {request.url.path}. See /openapi.json.",
        HTTPStatus.METHOD_NOT_ALLOWED: f"{request.method} is not possible here. See /openapi.json.",
    }
    kind = _Kind(status.phrase.lower().replace(" ", "-"), status, status.phrase)
    return _answer(
        kind, detail=details.get(status, str(error.detail)), headers=dict(error.headers or {})
    )


async def _handle_defect(_request: Request, _error: Exception) -> Response:
    # Starlette raises it again after this answer, and uvicorn logs it.
    return _answer(_DEFECT, detail=_DEFECT_DETAIL)


def _field_error(error: Mapping[str, Any]) -> errors.FieldError:
    """Return the error of a field, under the name that the caller wrote.

    The sent value is never quoted, because it may be a token.
    """
    place, *rest = error["loc"]
    if place == "body" and (not rest or error["type"] == "json_invalid"):
        return errors.FieldError("body", "expected a JSON object, sent as application/json")
    name = ".".join(str(part) for part in rest) or str(place)
    if error["type"] == "extra_forbidden":
        return errors.FieldError(name, "there is no such field; see /openapi.json")
    return errors.FieldError(name, str(error["msg"]))


def _answer(kind: _Kind, *, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    return _to_response(_problem(kind, detail=detail), headers)


def _problem(
    kind: _Kind,
    *,
    detail: str,
    fields: Sequence[errors.FieldError] = (),
    key: str | None = None,
) -> Problem:
    return Problem(
        type=f"urn:rescind:problem:{kind.slug}",
        title=kind.title,
        status=kind.status,
        detail=_sendable(detail),
        errors=[
            WrongField(field=_sendable(each.field), detail=_sendable(each.detail))
            for each in fields
        ],
        idempotency_key=key,
    )


def _to_response(problem: Problem, headers: Mapping[str, str] | None) -> Response:
    return JSONResponse(
        problem.model_dump(exclude_defaults=True),
        status_code=problem.status,
        headers=dict(headers or {}),
        media_type=MEDIA_TYPE,
    )


def _sendable(text: str) -> str:
    """Hide tokens, and escape lone surrogates, which JSON can contain and UTF-8 cannot."""
    return token_format.hidden(text).encode(errors="backslashreplace").decode()
