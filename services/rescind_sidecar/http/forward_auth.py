"""`/verify`: forward-auth for proxies (nginx, Envoy, Caddy, Traefik).

At exactly `/verify`, the query is the proxy's. An unknown parameter is refused: if it were ignored,
the check would cover less than its author intended. `require` (or `scope`) names scopes. `min_seq`
is a position of the ledger that the answer must cover. `audience` names a service, but only one
that RESCIND_AUDIENCES lists, because some proxies append the caller's own query. Below `/verify/`,
the path and the query are those of the caller's request, and are ignored.

Some tokens are bound to the caller's address. It is read from the header that
RESCIND_ADDRESS_HEADER names, such as x-real-ip: the proxy must always set this header, and
replace the caller's.
"""

import re
from collections.abc import Collection, Coroutine
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, quote

from rescind.client.verifier import Verifier
from rescind.core import scopes
from rescind.core.record import Record
from rescind.core.verdict import Allowed, CheckRequest, Denied, Verdict
from rescind.errors import ScopeError
from rescind.wire import bearer
from rescind_sidecar.http.messages import NO_STORE, HttpRequest, HttpResponse, lines, problem

PATH = "/verify"
_MAX_PARAMETERS = 100
_MAX_QUERIES = 1024
_MAX_CACHED = 10_000
_CACHE_BYTES = 16 << 20
_MAX_CACHED_QUERY_BYTES = 256
_LARGEST_SEQ = (1 << 64) - 1

_VISIBLE = re.compile(r"[!-$&-~]*")
_VISIBLE_BUT_PERCENT = "!\"#$&'()*+,/:;<=>?@[\\]^`{|}"


class _QueryError(ValueError):
    """Raised for an invalid query."""


@dataclass(frozen=True, slots=True)
class Requirements:
    """The requirements in a query: the scopes, the audience and the position."""

    require: frozenset[str] = frozenset()
    audience: str | None = None
    min_seq: int = 0


_NO_REQUIREMENTS = Requirements()


class ForwardAuth:
    """Check the bearer token of a call: any method, any path after `/verify`.

    `audiences` are the services that `audience=` may name, besides the sidecar's own;
    `resource_metadata` is a URL for the challenges (RFC 9728).
    """

    def __init__(
        self,
        verifier: Verifier,
        *,
        stale_status: int,
        address_header: str | None = None,
        audiences: Collection[str] = (),
        resource_metadata: str | None = None,
    ) -> None:
        self._verifier = verifier
        self._address_header = address_header and address_header.encode()
        self._stale_status = stale_status
        self._audiences = frozenset(audiences)
        self._metadata = resource_metadata
        self._unauthenticated = _to_response(
            bearer.unauthenticated(resource_metadata=resource_metadata)
        )
        self._cached: dict[tuple[bytes, int, int], bytes] = {}
        self._cached_bytes = 0

    def __call__(self, request: HttpRequest) -> HttpResponse | Coroutine[Any, Any, HttpResponse]:
        """Return a response from memory, or a coroutine that asks the sidecar."""
        requirements = _NO_REQUIREMENTS
        if request.query and request.path == PATH:
            try:
                requirements = _read_requirements(request.query)
                self._require_listed(requirements.audience)
            except _QueryError as error:
                return problem(400, "invalid-query", "The query cannot be used", str(error))
        token = bearer.find(request.headers)
        if token is None:
            return self._unauthenticated
        as_of = self._verifier.as_of
        address = self._find_address(request) if self._address_header else None
        # Separate arguments: building one value would cost a twentieth of the whole answer.
        verdict = self._verifier.recall(
            token,
            require=requirements.require,
            audience=requirements.audience,
            address=address,
            min_seq=requirements.min_seq,
        )
        if verdict is None:
            return self._check_with_sidecar(token, requirements, address)
        return self._reply(verdict, requirements, as_of=as_of)

    def _require_listed(self, audience: str | None) -> None:
        if audience is None or audience in self._audiences or audience == self._verifier.service:
            return
        raise _QueryError(
            "`audience` names a service that this sidecar does not answer for. List it in "
            "RESCIND_AUDIENCES, and never hand on the caller's query."
        )

    def _find_address(self, request: HttpRequest) -> str | None:
        """Return the caller's address from the header: the last of a list, which the proxy set."""
        addresses = [
            value for name, value in request.headers if name.lower() == self._address_header
        ]
        return addresses[-1].decode("latin-1").rpartition(",")[2].strip() if addresses else None

    def _cache_headers(self, key: tuple[bytes, int, int], record: Record) -> bytes:
        """Return the headers of a record, and cache them: a record does not change at a position.

        The cache contains no verdicts. Above its bounds, the oldest headers are dropped.
        """
        headers = _encode_headers(record)
        self._cached_bytes += len(headers)
        while self._cached and (
            len(self._cached) >= _MAX_CACHED or self._cached_bytes > _CACHE_BYTES
        ):
            self._cached_bytes -= len(self._cached.pop(next(iter(self._cached))))
        self._cached[key] = headers
        return headers

    async def _check_with_sidecar(
        self, token: str, requirements: Requirements, address: str | None
    ) -> HttpResponse:
        as_of = self._verifier.as_of
        verdict = await self._verifier.acheck_request(
            CheckRequest(
                token, requirements.require, requirements.audience, address, requirements.min_seq
            )
        )
        return self._reply(verdict, requirements, as_of=as_of)

    def _reply(self, verdict: Verdict, requirements: Requirements, *, as_of: int) -> HttpResponse:
        match verdict:
            case Allowed(record):
                key = (record.token_hash, record.epoch, record.as_of)
                headers = self._cached.get(key) or self._cache_headers(key, record)
                seq = max(as_of, record.as_of, requirements.min_seq)
                return HttpResponse(200, b"%bx-rescind-as-of: %d\r\n" % (headers, seq))
            case Denied(reason):
                refusal = bearer.refuse(
                    reason,
                    require=requirements.require,
                    stale_status=self._stale_status,
                    resource_metadata=self._metadata,
                )
                return _to_response(refusal)


def _to_response(refusal: bearer.Refusal) -> HttpResponse:
    headers = [each for each in refusal.headers if each[0] != "content-length"]
    return HttpResponse(refusal.status, lines(headers), refusal.body)


def _encode_headers(record: Record) -> bytes:
    return NO_STORE + lines(
        (
            ("x-rescind-subject", _encode_visible(record.subject)),
            ("x-rescind-kind", record.kind),
            ("x-rescind-token-id", _encode_visible(record.token_id)),
            ("x-rescind-scopes", " ".join(map(_encode_visible, sorted(record.scopes)))),
            # Sent also when empty, so that a proxy overwrites a header that the caller sent.
            (
                "x-rescind-scopes-removed",
                " ".join(map(_encode_visible, scopes.reported(record.removed))),
            ),
            ("x-rescind-scopes-removed-count", str(len(record.removed))),
            ("x-rescind-chain", " ".join(map(_encode_visible, record.chain))),
        )
    )


def _encode_visible(text: str) -> str:
    """Percent-encode `%` and all but visible ASCII: no text ends a header or splits a list."""
    return text if _VISIBLE.fullmatch(text) else quote(text, safe=_VISIBLE_BUT_PERCENT)


def _read_requirements(query: bytes) -> Requirements:
    # A proxy repeats the same query, which is cached. Long queries, made up by callers, are not.
    if len(query) <= _MAX_CACHED_QUERY_BYTES:
        return _parse_cached(query)
    return _parse(query)


def _parse(query: bytes) -> Requirements:
    """Parse the query of `/verify`. Raises _QueryError, whose text explains the problem."""
    if b";" in query or b"," in query:
        # Elsewhere these separate parameters or values. Here they may be part of a scope, and a
        # token with the pattern `a:*` would grant both `a:x;scope=b:y` and `a:x,b:y`.
        raise _QueryError(
            "`;` and `,` separate nothing here: repeat the parameter, or write %20 between scopes "
            "(%3B and %2C where a scope contains them)."
        )
    require = set[str]()
    audiences = set[str]()
    min_seq = 0
    for name, text in _split_query(query):
        match name:
            case "require" | "scope":
                require.update(_parse_scopes(name, text))
            case "audience":
                audiences.add(_parse_audience(text))
            case "min_seq":
                # The largest of several: an appended parameter can only demand more.
                min_seq = max(min_seq, _parse_seq(text))
            case _:
                # The error never contains the parameter: it may be the caller's, and secret.
                raise _QueryError(
                    "A parameter is not known. Send `require` (or `scope`), `audience` and "
                    "`min_seq`, and never the caller's own query (Caddy: `uri /verify?`)."
                )
    if len(audiences) > 1:
        raise _QueryError("`audience` names one service.")
    return Requirements(frozenset(require), audiences.pop() if audiences else None, min_seq)


def _split_query(query: bytes) -> list[tuple[str, str]]:
    text = query.decode("utf-8", "replace")
    try:
        return parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_PARAMETERS)
    except ValueError:
        raise _QueryError(f"There are more than {_MAX_PARAMETERS} parameters.") from None


def _parse_scopes(name: str, text: str) -> list[str]:
    names = [each for each in text.split(" ") if each]
    if not names:
        # Most likely a variable of the proxy is not set: this must not mean "no scope".
        raise _QueryError(f"`{name}` names scopes, and this one is empty.")
    try:
        return [scopes.parse(each) for each in names]
    except ScopeError:
        raise _QueryError(
            f"`{name}` names scopes, separated by spaces (%20), and one of these is not valid."
        ) from None


def _parse_audience(text: str) -> str:
    if not text:
        raise _QueryError("`audience` names a service, and this one is empty.")
    return text


def _parse_seq(value: str) -> int:
    # The length is checked first: Python parses no number of more than 4,300 digits.
    short = len(value) <= len(str(_LARGEST_SEQ))
    if short and value.isascii() and value.isdecimal() and int(value) <= _LARGEST_SEQ:
        return int(value)
    raise _QueryError("`min_seq` is a position of the ledger: a number, 1042 say.")


_parse_cached = lru_cache(_MAX_QUERIES)(_parse)
