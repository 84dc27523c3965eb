"""Errors of the OAuth endpoints, as RFC 6749 (section 5.2) writes them."""

from collections.abc import Mapping, Sequence

from starlette.responses import JSONResponse, Response

from rescind.core import token_format
from rescind.errors import RescindError
from rescind_authority.errors import (
    BeyondParentError,
    CommitUnknownError,
    FieldError,
    InvalidRequestError,
    OverloadedError,
    StandingRevocationError,
    StoreUnavailableError,
    TooManyChangesError,
)
from rescind_authority.usecases.oauth.authentication import InvalidClientError
from rescind_authority.usecases.oauth.client_tokens import (
    BeyondRegistrationError,
    GrantNotAllowedError,
)
from rescind_authority.usecases.oauth.presented_tokens import (
    IntrospectionNotAllowedError,
    NotTheClientsTokenError,
)

PATHS = "/oauth/"
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}

_BASIC = {"WWW-Authenticate": 'Basic realm="rescind"'}
_CODES = {"scopes": "invalid_scope", "audience": "invalid_target"}


class OAuthError(RescindError):
    """Raised for an invalid request, with an error code of RFC 6749 (5.2)."""

    def __init__(self, code: str, description: str, *, status: int = 400) -> None:
        super().__init__(description)
        self.code = code
        self.status = status


def response(error: RescindError, *, key: str | None = None) -> Response:
    """Return the response for an error; `key` is the idempotency key to retry with."""
    again = {} if key is None else {"Idempotency-Key": key}
    match error:
        case TooManyChangesError():
            after = {"Retry-After": str(error.retry_after_s)}
            return _build("temporarily_unavailable", error, 429, after | again)
        case CommitUnknownError() | OverloadedError() | StoreUnavailableError():
            return _build("temporarily_unavailable", error, 503, {"Retry-After": "1"} | again)
        case InvalidClientError():
            return _build("invalid_client", error, 401, _BASIC)
        case _:
            return _build(*_refusal(error))


def _refusal(error: RescindError) -> tuple[str, RescindError, int]:
    """Return the code, the text and the status of a request that is refused."""
    match error:
        case OAuthError():
            return error.code, error, error.status
        case IntrospectionNotAllowedError():
            return "insufficient_scope", error, 403
        case GrantNotAllowedError() | NotTheClientsTokenError() | StandingRevocationError():
            return "unauthorized_client", error, 400
        case InvalidRequestError() | BeyondParentError() | BeyondRegistrationError():
            return _code_of(error.problems), error, 400
        case _:
            return "invalid_request", error, 400


def too_large(limit_bytes: int) -> Response:
    """Return the response for a body above the size limit."""
    return _build("invalid_request", f"Send at most {limit_bytes:,} bytes.", 413)


def _build(
    code: str,
    description: RescindError | str,
    status: int,
    headers: Mapping[str, str] | None = None,
) -> Response:
    return JSONResponse(
        {"error": code, "error_description": _to_description(str(description))},
        status_code=status,
        headers={**NO_STORE, **(headers or {})},
    )


def _code_of(problems: Sequence[FieldError]) -> str:
    return next(
        (_CODES[each.field] for each in problems if each.field in _CODES), "invalid_request"
    )


def _to_description(text: str) -> str:
    """Replace the characters that RFC 6749 (5.2) does not allow in a description."""
    plain = token_format.hidden(text).replace('"', "'").replace("\\", "/").replace("\n", " ")
    return "".join(each if " " <= each <= "~" else "?" for each in plain)
