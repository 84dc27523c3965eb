"""`/verify`: forward-auth for proxies (nginx, Envoy, Caddy, Traefik).

At exactly `/verify`, the query is the proxy's. An unknown parameter is refused: if it were ignored,
the check would cover less than its author intended. `require` (or `scope`) names scopes. `min_seq`
is a position of the ledger that the answer must cover. `audience` names a service, but only one
that RESCIND_AUDIENCES lists, because some proxies append the caller's own query. `audience` is
refused if X-Forwarded-Uri shows that the query is the caller's. Below `/verify/`, the path and the
query are those of the caller's request, and are ignored.

Some tokens are bound to the caller's address. It is read from the header that
RESCIND_ADDRESS_HEADER names, such as x-real-ip: the proxy must always set this header, and
replace the caller's.
"""

from collections.abc import Coroutine
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

from rescind.core.record import Record
from rescind.wire import bearer
from rescind.wire.bearer import Refusal
from rescind_sidecar.data_plane import record_headers, requirements
from rescind_sidecar.data_plane.forward_auth import (
    ForwardAuth,
    PendingDecision,
    Permit,
)
from rescind_sidecar.data_plane.record_headers import HeaderCache
from rescind_sidecar.data_plane.requirements import (
    NO_REQUIREMENTS,
    Requirements,
    RequirementsError,
)
from rescind_sidecar.http.messages import NO_STORE, HttpRequest, HttpResponse, lines, problem

PATH = "/verify"
_MAX_PARAMETERS = 100
_MAX_QUERIES = 1024
_MAX_CACHED_QUERY_BYTES = 256
_AS_OF = record_headers.AS_OF.encode()
_CALLED = b"x-forwarded-uri"
_ADVICE = "and never the caller's own query (Caddy: `uri /verify?`)"


class VerifyEndpoint:
    """Check the bearer token of a call: any method, any path after `/verify`."""

    def __init__(self, forward_auth: ForwardAuth, *, address_header: str | None = None) -> None:
        self._forward_auth = forward_auth
        self._address_header = address_header and address_header.encode()
        self._headers = HeaderCache(_encode_headers)

    def __call__(self, request: HttpRequest) -> HttpResponse | Coroutine[Any, Any, HttpResponse]:
        """Return a response from memory, or a coroutine that asks the sidecar."""
        stated = NO_REQUIREMENTS
        try:
            if request.query and request.path == PATH:
                stated = _read_requirements(request.query)
                if stated.audience is not None:
                    _require_own_query(request)
            token = bearer.find(request.headers)
            address = self._find_address(request) if self._address_header else None
            decision = self._forward_auth.decide(token, stated, address)
        except RequirementsError as error:
            return problem(400, "invalid-query", "The query cannot be used", str(error))
        if isinstance(decision, Permit):  # the usual case first
            return self._allow(decision)
        return _refuse(decision) if isinstance(decision, Refusal) else self._reply_later(decision)

    def _find_address(self, request: HttpRequest) -> str | None:
        """Return the caller's address from the header: the last of a list, which the proxy set."""
        addresses = [
            value for name, value in request.headers if name.lower() == self._address_header
        ]
        return addresses[-1].decode("latin-1").rpartition(",")[2].strip() if addresses else None

    async def _reply_later(self, pending: PendingDecision) -> HttpResponse:
        match await pending:
            case Permit() as permit:
                return self._allow(permit)
            case Refusal() as refusal:
                return _refuse(refusal)

    def _allow(self, permit: Permit) -> HttpResponse:
        record, as_of = permit
        return HttpResponse(200, b"%b%b: %d\r\n" % (self._headers.find(record), _AS_OF, as_of))


def _refuse(refusal: Refusal) -> HttpResponse:
    headers = [each for each in refusal.headers if each[0] != "content-length"]
    return HttpResponse(refusal.status, lines(headers), refusal.body)


def _encode_headers(record: Record) -> bytes:
    # Sent also when empty, so that a proxy overwrites a header that the caller sent.
    return NO_STORE + lines(record_headers.describe(record))


def _read_requirements(query: bytes) -> Requirements:
    # A proxy repeats the same query, which is cached. Long queries, made up by callers, are not.
    if len(query) <= _MAX_CACHED_QUERY_BYTES:
        return _parse_cached(query)
    return _parse(query)


def _require_own_query(request: HttpRequest) -> None:
    """Raise RequirementsError for the very query of the call, in the X-Forwarded-Uri of the proxy.

    Otherwise a caller behind Caddy without a `?` would choose among the audiences.
    """
    for name, value in request.headers:
        if name.lower() == _CALLED and value.partition(b"?")[2] == request.query:
            raise RequirementsError(f"`audience` is in the caller's own query: name it, {_ADVICE}.")


def _parse(query: bytes) -> Requirements:
    """Parse the query of `/verify`. Raises RequirementsError, whose text explains the problem."""
    if b";" in query or b"," in query:
        # Elsewhere these separate parameters or values. Here they may be part of a scope, and a
        # token with the pattern `a:*` would grant both `a:x;scope=b:y` and `a:x,b:y`.
        raise RequirementsError(
            "`;` and `,` separate nothing here: repeat the parameter, or write %20 between scopes "
            "(%3B and %2C where a scope contains them)."
        )
    return requirements.parse(_split_query(query), advice=_ADVICE)


def _split_query(query: bytes) -> list[tuple[str, str]]:
    text = query.decode("utf-8", "replace")
    try:
        return parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_PARAMETERS)
    except ValueError:
        raise RequirementsError(f"There are more than {_MAX_PARAMETERS} parameters.") from None


_parse_cached = lru_cache(_MAX_QUERIES)(_parse)
