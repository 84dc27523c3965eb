"""Forms of OAuth requests (RFC 6749), and the credentials of the clients that send them."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, unquote_plus

from rescind.wire import bearer

MEDIA_TYPE: Final = "application/x-www-form-urlencoded"
ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

Headers = Iterable[tuple[bytes, bytes]]
Form = Mapping[str, Sequence[str]]
"""The values of each parameter. An empty value counts as omitted (RFC 6749, section 3.2)."""

_MAX_PARAMETERS = 200


class InvalidFormError(ValueError):
    """Raised for a request that cannot be read. The text never repeats what was sent."""


@dataclass(frozen=True, slots=True)
class ClientSecret:
    """The id and the secret of a client, from HTTP Basic or from the form.

    A client may or may not percent-encode what it sends by Basic, so there may be two readings of
    the id.
    """

    client_ids: tuple[str, ...]
    secret: str


@dataclass(frozen=True, slots=True)
class ClientAssertion:
    """A JWT that a client signed (RFC 7523). `client_id` is None unless the form has one."""

    assertion: str
    client_id: str | None


@dataclass(frozen=True, slots=True)
class BearerToken:
    """A bearer token in place of a client's id and secret. A malformed header is an empty token."""

    token: str


Credentials = ClientSecret | ClientAssertion | BearerToken


def read_form(
    headers: Headers, body: bytes, *, query: str | bytes, most: int = _MAX_PARAMETERS
) -> Form:
    """Read the form in a body, of at most `most` parameters. Raises InvalidFormError.

    A request with a query is refused.
    """
    if query:
        raise InvalidFormError("Send the parameters in the body: a query is logged on its way.")
    types = [value for name, value in headers if name.lower() == b"content-type"]
    media_type = types[0].partition(b";")[0].strip().lower() if types else b""
    if media_type != MEDIA_TYPE.encode() or len(types) != 1:
        raise InvalidFormError(f"Send a form: Content-Type: {MEDIA_TYPE}.")
    try:
        pairs = parse_qsl(body.decode("ascii"), errors="strict", max_num_fields=most)
    except ValueError:
        raise InvalidFormError("The body is not a form of percent-encoded UTF-8 text.") from None
    form: dict[str, list[str]] = {}
    for name, value in pairs:
        form.setdefault(name, []).append(value)
    return form


def single_values(form: Form, *, repeatable: frozenset[str] = frozenset()) -> dict[str, str]:
    """Return the first value of each parameter.

    Raises InvalidFormError if a parameter that is not `repeatable` was sent more than once.
    """
    if any(len(values) > 1 and name not in repeatable for name, values in form.items()):
        raise InvalidFormError("A parameter was sent more than once.")
    return {name: values[0] for name, values in form.items()}


def require_known(form: Iterable[str], known: frozenset[str]) -> None:
    """Raise InvalidFormError for a parameter that the endpoint does not know."""
    if not known.issuperset(form):
        # The error never contains the parameter: it may be a secret.
        raise InvalidFormError(f"A parameter is not known. Send {', '.join(sorted(known))}.")


def read_credentials(headers: Headers, form: Mapping[str, str]) -> Credentials | None:
    """Return the credentials of a request's client, or None if it has none.

    Raises InvalidFormError if there are two, or if the form's `client_id` differs from Basic's.
    """
    authorizations = [value for name, value in headers if name.lower() == b"authorization"]
    secret, assertion = form.get("client_secret"), form.get("client_assertion")
    if len(authorizations) + (secret is not None) + (assertion is not None) > 1:
        raise InvalidFormError("Authenticate once: in one Authorization header, or in the form.")
    client_id = form.get("client_id")
    if assertion is not None:
        if form.get("client_assertion_type") != ASSERTION_TYPE:
            raise InvalidFormError(f"`client_assertion_type` must be {ASSERTION_TYPE}.")
        return ClientAssertion(assertion, client_id)
    if secret is not None:
        if client_id is None:
            raise InvalidFormError("`client_id` is missing beside `client_secret`.")
        return ClientSecret((client_id,), secret)
    if not authorizations:
        return None
    basic = read_basic(authorizations[0])
    if basic is None:
        return BearerToken(bearer.find([(b"authorization", authorizations[0])]) or "")
    if client_id is not None and client_id not in basic.client_ids:
        raise InvalidFormError(
            "`client_id` differs from the user name of the Authorization header."
        )
    return basic


def find_basic(headers: Headers) -> ClientSecret | None:
    """Return the id and secret in the one Authorization header. Raises InvalidFormError."""
    found = [value for name, value in headers if name.lower() == b"authorization"]
    return read_basic(found[0]) if len(found) == 1 else None


def read_basic(authorization: bytes) -> ClientSecret | None:
    """Read HTTP Basic; None for another scheme. Raises InvalidFormError.

    RFC 6749 (2.3.1) form-encodes both parts. Many clients encode neither. An id may contain colons;
    a secret contains none.
    """
    scheme, _, encoded = authorization.strip().partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode()
    except ValueError:
        raise InvalidFormError("The Authorization header is not HTTP Basic in base64.") from None
    client_id, _, secret = text.rpartition(":")
    return ClientSecret(
        tuple(dict.fromkeys((client_id, unquote_plus(client_id)))), unquote_plus(secret)
    )
