"""The form and the credentials of an OAuth request."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security.http import HTTPBase

from rescind_authority.http.dependencies import UseCases, address_of, mark_authenticated
from rescind_authority.http.oauth_errors import OAuthError
from rescind_authority.usecases.oauth.authentication import AuthenticatedClient
from rescind_runtime.oauth import forms
from rescind_runtime.oauth.forms import BearerToken, Credentials, Form, InvalidFormError

CREDENTIALS = frozenset({"client_id", "client_secret", "client_assertion", "client_assertion_type"})
"""The parameters with which a client authenticates."""

_REPEATABLE = frozenset({"audience", "resource"})


@dataclass(frozen=True, slots=True)
class OAuthRequest:
    """The parameters of a form, and the credentials of the client, if there are any."""

    form: Form
    values: Mapping[str, str]
    credentials: Credentials | None

    def all(self, *names: str) -> Sequence[str]:
        """Return all values of these parameters, in their order."""
        return [value for name in names for value in self.form.get(name, ())]

    def number(self, name: str, *, most: int) -> int | None:
        """Return a whole number, or None without the parameter. Raises OAuthError."""
        text = self.values.get(name)
        if text is None:
            return None
        if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text) <= most):  # noqa: PLR2004 int() of very long text is slow
            raise OAuthError(
                "invalid_request", f"{name} must be a whole number, and at most {most:,}."
            )
        return int(text)


async def oauth_request(request: Request) -> OAuthRequest:
    """Read the form of a request. Raises OAuthError."""
    headers: list[tuple[bytes, bytes]] = request.scope["headers"]
    try:
        form = forms.read_form(headers, await request.body(), query=request.url.query)
        values = forms.single_values(form, repeatable=_REPEATABLE)
        return OAuthRequest(form, values, forms.read_credentials(headers, values))
    except InvalidFormError as error:
        raise OAuthError("invalid_request", str(error)) from None


ClientScheme = Annotated[
    object,
    Security(
        HTTPBase(
            scheme="basic",
            scheme_name="OAuth client",
            description="The id and secret of a client. The form is possible too.",
            auto_error=False,
        )
    ),
]
"""Documents that an endpoint needs a client. `authenticate` reads the credentials."""

OAuthForm = Annotated[OAuthRequest, Depends(oauth_request)]


async def authenticate(
    sent: OAuthRequest, request: Request, use_cases: UseCases
) -> AuthenticatedClient:
    """Return the client of a request. Raises InvalidClientError, or the store's errors."""
    credentials = None if isinstance(sent.credentials, BearerToken) else sent.credentials
    client = await use_cases.client_authenticator.authenticate(
        credentials, address=address_of(request), issuer=request.app.state.issuer
    )
    mark_authenticated(request.scope, client.credential.token_id)
    request.state.caller = client.name
    return client


def require_known(sent: OAuthRequest, *names: str) -> None:
    """Raise OAuthError for a parameter that an endpoint does not know."""
    try:
        forms.require_known(sent.form, CREDENTIALS | frozenset(names))
    except InvalidFormError as error:
        raise OAuthError("invalid_request", str(error)) from None


def form_body(required: Sequence[str], parameters: Mapping[str, str]) -> dict[str, Any]:
    """Return the OpenAPI description of a form, from the text of each parameter."""
    properties = {
        name: {"type": "string", "description": text} for name, text in parameters.items()
    }
    schema = {"type": "object", "required": list(required), "properties": properties}
    return {"requestBody": {"required": True, "content": {forms.MEDIA_TYPE: {"schema": schema}}}}


ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"description": "RFC 6749, 5.2: `error` and `error_description`."},
    401: {"description": "The same: `invalid_client`."},
    413: {"description": "The same: the body is too large."},
    429: {"description": "The same, with `Retry-After`: too many changes by this token."},
    503: {"description": "The same: `temporarily_unavailable`."},
}
"""The responses that every OAuth endpoint may return."""
