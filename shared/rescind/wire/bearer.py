"""Bearer tokens in HTTP, for every framework: how to find a token, and how to refuse a call.

A token is sent and refused as in RFC 6750; the body of a refusal is a problem (RFC 9457).
"""

import json
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from rescind.core import scopes
from rescind.core.verdict import NOT_JUDGED, Reason
from rescind.errors import ScopeError

RETRY_AFTER_S = 1
"""In seconds: the next heartbeat, which may bring a lease, follows soon."""

_HEADER = re.compile(rb"bearer +([^ ]+) *", re.IGNORECASE)
_SCOPE = re.compile(r"[!#-\[\]-~]+")  # RFC 6749 §3.3: characters allowed in a quoted challenge
_METADATA = re.compile(r"https?://[!#-\[\]-~]+")  # RFC 9728 §5.1, inside quotes
_REALM = 'realm="rescind"'
_UNAUTHORIZED = 401

_DETAIL = {
    Reason.MISSING: "No bearer token was sent.",
    Reason.MALFORMED: "The text that was sent is not a token.",
    Reason.UNKNOWN: "The authority does not know this token.",
    Reason.EXPIRED: "The token has expired.",
    Reason.NOT_YET_VALID: "The token is not valid yet.",
    Reason.REVOKED: "The token was revoked.",
    Reason.SUSPENDED: "The token is suspended.",
    Reason.WRONG_AUDIENCE: "The token was issued for another service.",
    Reason.WRONG_VERIFIER: "The token may not be used at this service's place.",
    Reason.WRONG_ADDRESS: "The token may not be used from this address.",
    Reason.INSUFFICIENT_SCOPE: "The token lacks a scope that this call requires.",
    Reason.NO_LEASE: "This service cannot tell right now whether the token is still valid.",
    Reason.UNAVAILABLE: "This service cannot reach what would tell whether the token is valid.",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """The response in place of the application's. Header names are in lower case."""

    reason: Reason
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def find(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Return the bearer token (RFC 6750 §2.1): None without one, an empty text if there are two.

    Two `Authorization` headers contradict each other, so neither is used.
    """
    values = [value for name, value in headers if name.lower() == b"authorization"]
    if len(values) > 1:
        return ""
    match = _HEADER.fullmatch(values[0]) if values else None
    return match[1].decode("latin-1") if match else None


def unauthenticated(*, resource_metadata: str | None = None) -> Refusal:
    """Return the refusal of a call without a token."""
    return refuse(Reason.MISSING, resource_metadata=resource_metadata)


def metadata_url(url: str | None) -> str | None:
    """Return a valid URL of a resource's metadata (RFC 9728), unchanged. Raises ValueError."""
    if url is not None and not _METADATA.fullmatch(url):
        raise ValueError(
            "resource_metadata is the URL of the resource's metadata, such as "
            "https://mcp.example.com/.well-known/oauth-protected-resource"
        )
    return url


def required(require: Collection[str]) -> frozenset[str]:
    """Return the scopes that calls need. Raises ScopeError for an invalid scope.

    Without this check, a token with the pattern `a:*` would grant `a:x b:y`. A single text is
    invalid too: it is not a collection of scopes.
    """
    if isinstance(require, str):
        raise ScopeError("`require` is a collection of scopes: put the one into a set")
    return frozenset(map(scopes.parse, require))


def describe(reason: Reason) -> str:
    """Return the sentence that tells a client why its call was refused."""
    return _DETAIL[reason]


def refuse(
    reason: Reason,
    *,
    require: Collection[str] = (),
    stale_status: int = 503,
    resource_metadata: str | None = None,
) -> Refusal:
    """Return the refusal of a call whose token was denied.

    `require` are the scopes that the call needs. `stale_status` 401 is for proxies that treat a 503
    as a fault of the sidecar. `resource_metadata` is the URL at which clients learn where to get a
    token (RFC 9728, section 5.1).
    """
    more = (f'resource_metadata="{resource_metadata}"',) if resource_metadata else ()

    def challenge(*parts: str) -> str:
        return f"Bearer {', '.join((*parts, *more))}"

    detail = _DETAIL[reason]
    if reason in NOT_JUDGED:
        # No error code: the token may be valid, and the client must not discard it.
        mild = challenge(_REALM) if stale_status == _UNAUTHORIZED else None
        return _build_refusal(stale_status, reason, detail, mild, retry=True)
    if reason is Reason.MISSING:
        return _build_refusal(
            401, reason, detail, challenge(_REALM)
        )  # RFC 6750 §3.1: no error code
    if reason is Reason.INSUFFICIENT_SCOPE:
        # A text that is not a scope may come from a query, and could end the quotes or the header.
        scope = " ".join(sorted(each for each in require if _SCOPE.fullmatch(each)))
        error = challenge('error="insufficient_scope"', f'scope="{scope}"')
        return _build_refusal(403, reason, detail, error)
    return _build_refusal(401, reason, detail, challenge('error="invalid_token"'))


def _build_refusal(
    status: int, reason: Reason, detail: str, challenge: str | None, *, retry: bool = False
) -> Refusal:
    problem = {
        "type": f"urn:rescind:denied:{reason}",
        "title": "The call was refused",
        "status": status,
        "detail": detail,
        "reason": reason,
    }
    body = json.dumps(problem).encode()
    return Refusal(
        reason,
        status,
        (
            ("content-type", "application/problem+json"),
            ("content-length", str(len(body))),
            ("cache-control", "no-store"),
            ("x-rescind-reason", reason.value),  # WSGI accepts no subclass of `str`
            *((("www-authenticate", challenge),) if challenge else ()),
            *((("retry-after", str(RETRY_AFTER_S)),) if retry else ()),
        ),
        body,
    )
