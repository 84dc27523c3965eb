"""`POST /introspect`: token introspection (RFC 7662), from memory and under the sidecar's lease.

The caller authenticates with a token of its own, which has the scope `rescind:introspect`: as the
secret of a client (HTTP Basic, or `client_id` and `client_secret` in the form), or as a bearer
token. The subject of a client's token is its `client_id`, or `client:<client_id>` if it is
registered (`rescind clients add`). So a caller can be revoked like any token. With
RESCIND_INTROSPECT=loopback, callers are not authenticated, and the listener is on loopback.

A token that is not accepted here is reported as inactive, without a reason. Without a lease, the
answer is 503: a client would discard a token that is reported as inactive. The answer has no `exp`
unless RESCIND_INTROSPECT_EXP is set: some clients cache an answer until that time, and miss a
revocation.
"""

from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from rescind.client.verifier import Verifier
from rescind.core.verdict import NOT_JUDGED, Allowed, CheckRequest, Denied, Reason, Verdict
from rescind.core.well_known_scopes import AUDIENCE, INTROSPECT
from rescind.wire import bearer
from rescind_runtime.oauth import forms, introspection
from rescind_runtime.oauth.forms import (
    BearerToken,
    ClientAssertion,
    ClientSecret,
    InvalidFormError,
)
from rescind_sidecar.http.messages import HttpRequest, HttpResponse, allowing, document, lines

PATH = "/introspect"

_PARAMETERS = frozenset({"token", "token_type_hint", "client_id", "client_secret", "address"})
_MAX_PARAMETERS = 20
_REQUIRED = frozenset({INTROSPECT})
_BASIC = 'Basic realm="rescind"'
_BAD_BEARER = 'Bearer realm="rescind", error="invalid_token"'
_TOO_LITTLE = f'Bearer realm="rescind", error="insufficient_scope", scope="{INTROSPECT}"'

_INACTIVE = document(200, introspection.INACTIVE)


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
            caller = None if self._loopback else _read_caller(request, form)
            check = _read_check(form)
        except InvalidFormError as error:
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
                members = introspection.describe(record, as_of=as_of, with_exp=self._with_exp)
                return document(200, members)
            case Denied(reason) if reason in NOT_JUDGED:
                return _refuse_unjudged()
            case Denied():
                return _INACTIVE


def _read_form(request: HttpRequest) -> Mapping[str, str]:
    form = forms.read_form(request.headers, request.body, query=request.query, most=_MAX_PARAMETERS)
    forms.require_known(form, _PARAMETERS)
    return forms.single_values(form)


def _read_check(form: Mapping[str, str]) -> CheckRequest:
    # The hint is for servers that search by type: here one look-up finds all of them.
    if "token" not in form:
        raise InvalidFormError("`token` is missing: send the token to introspect.")
    return CheckRequest(form["token"], address=form.get("address"))


def _read_caller(request: HttpRequest, form: Mapping[str, str]) -> _Caller | None:
    """Return the caller whose credentials a request contains, or None without credentials."""
    match forms.read_credentials(request.headers, form):
        case ClientSecret(client_ids, secret):
            return _Caller(_build_caller_check(secret), client_ids)
        case BearerToken(token):
            return _Caller(_build_caller_check(token), challenge=_BAD_BEARER)
        case ClientAssertion():
            raise InvalidFormError("Assertions are for the authority. Send an id and a secret.")
        case None:
            return None


def _build_caller_check(token: str) -> CheckRequest:
    return CheckRequest(token, _REQUIRED, AUDIENCE)


def _names_subject(client_ids: tuple[str, ...], subject: str) -> bool:
    """Return True if a client of these ids has this subject: `client:<id>` if it is registered."""
    return any(subject in {each, f"client:{each}"} for each in client_ids)


def _refuse_caller(caller: _Caller, verdict: Verdict) -> HttpResponse | None:
    """Return the refusal of a caller, or None if the caller may introspect."""
    match verdict:
        case Allowed(record):
            if not caller.client_ids or _names_subject(caller.client_ids, record.subject):
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
        "The token cannot be judged right now, and may be valid: ask again.",
        ("retry-after", str(bearer.RETRY_AFTER_S)),
    )


def _refuse(status: int, code: str, description: str, *headers: tuple[str, str]) -> HttpResponse:
    """Return an error as RFC 6749, section 5.2, writes it."""
    response = document(status, {"error": code, "error_description": description})
    return response._replace(head=response.head + lines(headers))
