"""`POST /introspect`: token introspection (RFC 7662), from memory and under the sidecar's lease.

The caller authenticates with a token of its own, which has the scope `rescind:introspect`: as the
secret of a client (HTTP Basic, or `client_id` and `client_secret` in the form), whose `client_id`
is the subject of that token, or as a bearer token. So a caller can be revoked like any token. With
RESCIND_INTROSPECT=loopback, callers are not authenticated, and the listener is on loopback.

A token that is not accepted here is reported as inactive, without a reason. Without a lease, the
answer is 503: a client would discard a token that is reported as inactive. The answer has no `exp`
unless RESCIND_INTROSPECT_EXP is set: some clients cache an answer until that time, and miss a
revocation.
"""

import base64
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

from rescind.client.verifier import Verifier
from rescind.core.record import Record
from rescind.core.times import US_PER_S
from rescind.core.verdict import NOT_JUDGED, Allowed, CheckRequest, Denied, Reason, Verdict
from rescind.core.well_known_scopes import AUDIENCE, INTROSPECT
from rescind.wire import bearer
from rescind_sidecar.http.messages import HttpRequest, HttpResponse, allowing, document, lines

PATH = "/introspect"

_FORM = "application/x-www-form-urlencoded"
_PARAMETERS = frozenset({"token", "token_type_hint", "client_id", "client_secret", "address"})
_MAX_PARAMETERS = 20
_REQUIRED = frozenset({INTROSPECT})
_BASIC = 'Basic realm="rescind"'
_BAD_BEARER = 'Bearer realm="rescind", error="invalid_token"'
_TOO_LITTLE = f'Bearer realm="rescind", error="insufficient_scope", scope="{INTROSPECT}"'

_INACTIVE = document(200, {"active": False})


class _UnusableError(ValueError):
    """Raised for a request that cannot be used. The text never repeats what was sent."""


@dataclass(frozen=True, slots=True)
class _Caller:
    """The credentials of a caller. A bearer token has no client_id to compare."""

    check: CheckRequest
    client_ids: tuple[str, ...] = ()
    challenge: str = _BASIC


class IntrospectionEndpoint:
    """Introspect the token in a form.

    `loopback` admits every caller, and ignores credentials. `with_exp` adds `exp`, the end of the
    token.
    """

    def __init__(
        self, verifier: Verifier, *, loopback: bool = False, with_exp: bool = False
    ) -> None:
        self._verifier = verifier
        self._loopback = loopback
        self._with_exp = with_exp

    def __call__(self, request: HttpRequest) -> HttpResponse | Coroutine[Any, Any, HttpResponse]:
        """Return a response from memory, or a coroutine that asks the sidecar."""
        if request.method != "POST":
            return allowing("POST")
        try:
            form = _read_form(request)
            caller = None if self._loopback else _read_caller(request.headers, form)
            check = _read_check(form)
        except _UnusableError as error:
            return _refuse(400, "invalid_request", str(error))
        if caller is None and not self._loopback:
            return _refuse_unauthenticated(
                "Send the client's id and secret, or a bearer token.", _BASIC
            )
        if caller is not None:
            verdict = self._verifier.recall_request(caller.check)
            if verdict is None:
                return self._check_with_sidecar(caller, check)
            refusal = _refuse_caller(caller, verdict)
            if refusal is not None:
                return refusal
        as_of = self._verifier.as_of
        verdict = self._verifier.recall_request(check)
        return (
            self._check_with_sidecar(None, check)
            if verdict is None
            else self._respond(verdict, as_of=as_of)
        )

    async def _check_with_sidecar(
        self, caller: _Caller | None, check: CheckRequest
    ) -> HttpResponse:
        if caller is not None:
            refusal = _refuse_caller(caller, await self._verifier.acheck_request(caller.check))
            if refusal is not None:
                return refusal
        as_of = self._verifier.as_of
        return self._respond(await self._verifier.acheck_request(check), as_of=as_of)

    def _respond(self, verdict: Verdict, *, as_of: int) -> HttpResponse:
        match verdict:
            case Allowed(record):
                return document(200, self._describe_record(record, as_of=as_of))
            case Denied(reason) if reason in NOT_JUDGED:
                return _refuse_unjudged()
            case Denied():
                return _INACTIVE

    def _describe_record(self, record: Record, *, as_of: int) -> dict[str, object]:
        """Return the members of RFC 7662, section 2.2, and ours, which begin with `rescind_`."""
        members: dict[str, object] = {
            "active": True,
            "scope": " ".join(sorted(record.scopes)),
            "sub": record.subject,
            "token_type": "Bearer",
            "jti": record.token_id,
            "iat": record.issued_at_us // US_PER_S,
            "nbf": -(-record.not_before_us // US_PER_S),
            "rescind_kind": record.kind,
            "rescind_as_of": max(as_of, record.as_of),
        }
        if self._with_exp:
            members["exp"] = record.expires_at_us // US_PER_S
        if record.audience:
            members["aud"] = sorted(record.audience)
        if record.client is not None:
            members["client_id"] = record.client
        if record.tenant is not None:
            members["rescind_tenant"] = record.tenant
        if record.chain:
            members["rescind_chain"] = list(record.chain)
        return members


def _read_form(request: HttpRequest) -> dict[str, str]:
    """Read the form of a request. An empty parameter counts as none (RFC 6749, section 3.2)."""
    if request.query:
        raise _UnusableError("Send the parameters in the body: a query is logged on its way.")
    types = [text for name, text in request.headers if name.lower() == b"content-type"]
    media_type = types[0].partition(b";")[0].strip().lower().decode("latin-1") if types else ""
    if media_type != _FORM or len(types) != 1:
        raise _UnusableError(f"Send a form: Content-Type: {_FORM}.")
    try:
        text = request.body.decode("ascii")
        pairs = parse_qsl(text, errors="strict", max_num_fields=_MAX_PARAMETERS)
    except ValueError:
        raise _UnusableError("The body is not a form of percent-encoded UTF-8 text.") from None
    form = dict(pairs)
    if len(form) != len(pairs):
        raise _UnusableError("A parameter came more than once.")
    if not form.keys() <= _PARAMETERS:
        # The error never contains the parameter: it may be a secret.
        raise _UnusableError(f"A parameter is not known. Send {', '.join(sorted(_PARAMETERS))}.")
    return form


def _read_check(form: Mapping[str, str]) -> CheckRequest:
    # The hint is for servers that search by type: here one look-up finds all of them.
    if "token" not in form:
        raise _UnusableError("`token` is missing: send the token to introspect.")
    return CheckRequest(form["token"], address=form.get("address"))


def _read_caller(headers: Sequence[tuple[bytes, bytes]], form: Mapping[str, str]) -> _Caller | None:
    """Return the caller whose credentials a request contains, or None without credentials."""
    authorizations = [value for name, value in headers if name.lower() == b"authorization"]
    secret = form.get("client_secret")
    if len(authorizations) + (secret is not None) > 1:
        raise _UnusableError("Authenticate once: in one Authorization header, or in the form.")
    client_ids = (form["client_id"],) if "client_id" in form else ()
    if secret is not None:
        if not client_ids:
            raise _UnusableError("`client_id` is missing beside `client_secret`.")
        return _Caller(_build_caller_check(secret), client_ids)
    if not authorizations:
        return None
    scheme, _, rest = authorizations[0].strip().partition(b" ")
    if scheme.lower() == b"basic":
        return _read_basic(rest.strip(), client_ids)
    # Another scheme is an empty token, which no check accepts.
    return _Caller(_build_caller_check(bearer.find(headers) or ""), client_ids, _BAD_BEARER)


def _read_basic(encoded: bytes, client_ids: tuple[str, ...]) -> _Caller:
    """Read HTTP Basic as RFC 6749, section 2.3.1, has it: both parts are form-encoded.

    Many clients encode neither, and a subject may contain colons; a token contains none.
    """
    try:
        text = base64.b64decode(encoded, validate=True).decode()
    except ValueError:
        raise _UnusableError("The Authorization header is not HTTP Basic in base64.") from None
    raw, _, secret = text.rpartition(":")
    if client_ids and client_ids[0] not in {raw, unquote_plus(raw)}:
        raise _UnusableError("`client_id` differs from the user name of the Authorization header.")
    return _Caller(_build_caller_check(unquote_plus(secret)), (raw, unquote_plus(raw)))


def _build_caller_check(token: str) -> CheckRequest:
    return CheckRequest(token, _REQUIRED, AUDIENCE)


def _refuse_caller(caller: _Caller, verdict: Verdict) -> HttpResponse | None:
    """Return the refusal of a caller, or None if the caller may introspect."""
    match verdict:
        case Allowed(record):
            if not caller.client_ids or record.subject in caller.client_ids:
                return None
            return _refuse_unauthenticated("The client's id or secret is wrong.", caller.challenge)
        case Denied(reason) if reason in NOT_JUDGED:
            return _refuse_unjudged()
        case Denied(Reason.INSUFFICIENT_SCOPE):
            description = f"The caller's token lacks the scope {INTROSPECT}."
            return _refuse(
                403, "insufficient_scope", description, ("www-authenticate", _TOO_LITTLE)
            )
        case Denied():
            return _refuse_unauthenticated("The client's id or secret is wrong.", caller.challenge)


def _refuse_unauthenticated(description: str, challenge: str) -> HttpResponse:
    return _refuse(401, "invalid_client", description, ("www-authenticate", challenge))


def _refuse_unjudged() -> HttpResponse:
    return _refuse(
        503,
        "temporarily_unavailable",
        "The token cannot be judged right now, and may be good: ask again.",
        ("retry-after", str(bearer.RETRY_AFTER_S)),
    )


def _refuse(status: int, code: str, description: str, *headers: tuple[str, str]) -> HttpResponse:
    """Return an error as RFC 6749, section 5.2, writes it."""
    response = document(status, {"error": code, "error_description": description})
    return response._replace(head=response.head + lines(headers))
