"""The request of each call, and the reader of its answer. No I/O: both clients share this."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast
from urllib.parse import quote

from rescind.client.admin.requests import (
    ChildGrant,
    Command,
    Grant,
    RequestOptions,
    RevocationFilters,
    RevocationItem,
    RotationOptions,
    TokenFilters,
    WaitOptions,
)
from rescind.client.admin.responses.operations import (
    AuthorityHealth,
    EvictedInstance,
    FleetDetails,
    LeaseTerm,
)
from rescind.client.admin.responses.revocations import (
    BatchResult,
    RevocationDetails,
    RevocationPreview,
)
from rescind.client.admin.responses.sessions import LogOutResult, SubjectSessions
from rescind.client.admin.responses.token_changes import ExpiryResult, TokenChange
from rescind.client.admin.responses.tokens import (
    TokenDetails,
    TokenEntry,
    TokenProperties,
    TokenTotal,
    TokenTree,
    TreeNode,
)
from rescind.core.secret import Secret
from rescind.errors import MalformedMessageError

Document = Mapping[str, Any]
"""A JSON object of the API."""

PAGE = 200
"""How many entries a list requests at once."""

_UNAVAILABLE = 503

Filters = Mapping[str, str | Sequence[str]]
"""The query parameters of a list."""

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Issued:
    """A new token: `token` is its secret, which no later answer has, and None in a repeat.

    `facts` are the properties with which the token was issued.
    """

    token: Secret | None
    token_id: str
    facts: TokenProperties


@dataclass(frozen=True, slots=True)
class Rotated:
    """A rotated token: `token` is its new secret, which no later answer has, and None in a repeat.

    `facts` is the rotation at its place in the ledger, with the receipt after a wait.
    """

    token: Secret | None
    token_id: str
    facts: TokenChange


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some entries of a list, and the cursor of the next page: None at the end."""

    entries: tuple[T, ...]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Call(Generic[T_co]):
    """One request, and the reader of its answer. A `key` marks a command.

    `also` are statuses besides 2xx whose body is an answer too.
    """

    method: str
    path: str
    read: Callable[[Document], T_co]
    query: Filters = field(default_factory=dict[str, "str | Sequence[str]"])
    body: Document | None = None
    key: str | None = None
    also: tuple[int, ...] = ()


def new_key() -> str:
    """Return an idempotency key: a command that is repeated under it takes effect once."""
    return secrets.token_urlsafe(18)


def issue(grant: Grant, key: str | None) -> Call[Issued]:
    """Issue a token."""
    return Call("POST", "/v1/tokens", _issued, body=cast("Document", grant), key=key or new_key())


def delegate(grant: ChildGrant, key: str | None) -> Call[Issued]:
    """Issue a child of the bearer's token."""
    body = cast("Document", grant)
    return Call("POST", "/v1/delegations", _issued, body=body, key=key or new_key())


def rotate(token_id: str, options: RotationOptions, key: str | None) -> Call[Rotated]:
    """Rotate a token: it gets a new secret."""
    return _rotate(f"/v1/tokens/{quote(token_id, safe='')}/rotate", options, key)


def rotate_own(options: RotationOptions, key: str | None) -> Call[Rotated]:
    """Rotate the bearer's own token."""
    return _rotate("/v1/rotations", options, key)


def _rotate(path: str, options: RotationOptions, key: str | None) -> Call[Rotated]:
    body = cast("Document", options)
    return Call("POST", path, _rotated, body=body, key=key or new_key())


def expire(
    token_id: str, at: str | None, options: RequestOptions, key: str | None
) -> Call[TokenChange]:
    """End a token early."""
    body = cast("Document", options) if at is None else {**options, "at": at}
    path = f"/v1/tokens/{quote(token_id, safe='')}/expire"
    return Call("POST", path, unchanged, body=body, key=key or new_key())


def expire_each(
    token_ids: Sequence[str], at: str | None, reason: str, key: str | None
) -> Call[ExpiryResult]:
    """End many tokens early."""
    body: dict[str, object] = {"token_ids": list(token_ids), "reason": reason}
    if at is not None:
        body["at"] = at
    return Call("POST", "/v1/tokens/expire", unchanged, body=body, key=key or new_key())


def token(token_id: str) -> Call[TokenDetails]:
    """Fetch one token."""
    return Call("GET", f"/v1/tokens/{quote(token_id, safe='')}", unchanged)


def presented(secret: Secret) -> Call[TokenDetails]:
    """Fetch the token with this secret."""
    return Call("POST", "/v1/tokens/look", unchanged, body={"token": secret.reveal()})


def tokens(filters: TokenFilters, cursor: str | None) -> Call[Page[TokenEntry]]:
    """List tokens, newest first."""
    return list_page("/v1/tokens", "tokens", cast("Filters", filters), cursor)


def count_tokens(filters: TokenFilters) -> Call[TokenTotal]:
    """Count tokens."""
    return Call("GET", "/v1/tokens/count", unchanged, query=cast("Filters", filters))


def tree(token_id: str, depth: int, children: int) -> Call[TokenTree]:
    """Fetch a part of a delegation tree."""
    query = {"depth": str(depth), "children": str(children)}
    return Call("GET", f"/v1/tokens/{quote(token_id, safe='')}/tree", unchanged, query=query)


def children(token_id: str, cursor: str | None) -> Call[Page[TreeNode]]:
    """List the tokens that were delegated directly from a token, oldest first."""
    return list_page(f"/v1/tokens/{quote(token_id, safe='')}/children", "nodes", {}, cursor)


def revoke(selector: Sequence[str], command: Command, key: str | None) -> Call[RevocationDetails]:
    """Revoke the tokens that have all of these handles."""
    body = {"selector": list(selector), **command}
    return Call("POST", "/v1/revocations", unchanged, body=body, key=key or new_key())


def revoke_each(
    items: Sequence[RevocationItem], options: WaitOptions, key: str | None
) -> Call[BatchResult]:
    """Send many commands, each with an outcome of its own."""
    body = {"revocations": [cast("Document", item) for item in items], **options}
    return Call("POST", "/v1/revocations/batch", unchanged, body=body, key=key or new_key())


def revoke_token(secret: Secret, command: Command, key: str | None) -> Call[RevocationDetails]:
    """Revoke the token with this secret."""
    body = {"token": secret.reveal(), **command}
    return Call("POST", "/v1/revocations", unchanged, body=body, key=key or new_key())


def suspend(selector: Sequence[str], command: Command, key: str | None) -> Call[RevocationDetails]:
    """Suspend the tokens that have all of these handles."""
    return revoke(selector, {**command, "effect": "suspend"}, key)


def narrow(
    selector: Sequence[str], scopes: Sequence[str], command: Command, key: str | None
) -> Call[RevocationDetails]:
    """Remove scopes from the tokens that have all of these handles."""
    return revoke(selector, {**command, "effect": "narrow", "scopes": list(scopes)}, key)


def kill(subject: str, command: Command, key: str | None) -> Call[RevocationDetails]:
    """Revoke and suspend the chain of a subject."""
    return revoke([f"chain:{subject}"], {**command, "effect": "kill"}, key)


def dry(call: Call[RevocationDetails]) -> Call[RevocationPreview]:
    """Return the call that previews a command: it changes nothing, and needs no key."""
    return Call(call.method, call.path, unchanged, body={**(call.body or {}), "dry_run": True})


def lift(revocation_id: str, options: RequestOptions, key: str | None) -> Call[RevocationDetails]:
    """End a suspend or a narrow."""
    path = f"/v1/revocations/{quote(revocation_id, safe='')}/lift"
    return Call("POST", path, unchanged, body=cast("Document", options), key=key or new_key())


def sessions() -> Call[SubjectSessions]:
    """List the bearer's sessions."""
    return Call("GET", "/v1/sessions", unchanged)


def log_out(
    token_id: str | None, everywhere: bool, options: WaitOptions, key: str | None
) -> Call[LogOutResult]:
    """End sessions of the bearer's subject."""
    body = {"token_id": token_id, "everywhere": everywhere, **options}
    return Call("POST", "/v1/sessions/logout", unchanged, body=body, key=key or new_key())


def revocation(revocation_id: str) -> Call[RevocationDetails]:
    """Fetch one revocation."""
    return Call("GET", f"/v1/revocations/{quote(revocation_id, safe='')}", unchanged)


def receipt(
    revocation_id: str, timeout_s: float, cursor: str | None = None
) -> Call[RevocationDetails]:
    """Wait for the receipt of a revocation, or fetch a later page of it."""
    path = f"/v1/revocations/{quote(revocation_id, safe='')}/receipt"
    query = {"timeout": f"{timeout_s:g}"}
    if cursor is not None:
        query["cursor"] = cursor
    return Call("GET", path, unchanged, query=query)


def revocations(filters: RevocationFilters, cursor: str | None) -> Call[Page[RevocationDetails]]:
    """List revocations, newest first."""
    return list_page("/v1/revocations", "revocations", cast("Filters", filters), cursor)


def newest_seq(revocations: Page[RevocationDetails]) -> int:
    """Return the seq of the newest revocation on a first page; 0 if there is none."""
    return revocations.entries[0]["seq"] if revocations.entries else 0


def fleet(ended: bool) -> Call[FleetDetails]:
    """List the sidecars, and how fresh each is."""
    return Call("GET", "/v1/fleet", unchanged, query={"ended": "true"} if ended else {})


def evict(instance: str, reason: str) -> Call[EvictedInstance]:
    """End a sidecar's instance for good."""
    path = f"/v1/fleet/{quote(instance, safe='')}/evict"
    return Call("POST", path, unchanged, body={"reason": reason})


def term() -> Call[LeaseTerm]:
    """Fetch the lease term."""
    return Call("GET", "/v1/term", unchanged)


def set_term(term_ms: int) -> Call[LeaseTerm]:
    """Request another lease term."""
    return Call("PUT", "/v1/term", unchanged, body={"term_ms": term_ms})


def health() -> Call[AuthorityHealth]:
    """Fetch whether the authority can do its work."""
    return Call("GET", "/readyz", unchanged, also=(_UNAVAILABLE,))


def list_page(path: str, name: str, filters: Filters, cursor: str | None) -> Call[Page[Any]]:
    query = {**filters, "limit": str(PAGE)}
    if cursor is not None:
        query["cursor"] = cursor

    def read(document: Document) -> Page[Any]:
        entries: object = document.get(name)
        if not isinstance(entries, list):
            raise MalformedMessageError("list", f"it has no {name!r}")
        return Page(tuple(cast("list[Document]", entries)), document.get("next"))

    return Call("GET", path, read, query=query)


def _issued(document: Document) -> Issued:
    token, token_id, facts = _secret(document)
    return Issued(token, token_id, cast("TokenProperties", facts))


def _rotated(document: Document) -> Rotated:
    token, token_id, facts = _secret(document)
    return Rotated(token, token_id, cast("TokenChange", facts))


def _secret(document: Document) -> tuple[Secret | None, str, Document]:
    """Return the secret, if there is one, the token's id, and the document without the secret."""
    match document:
        case {"token": str(token), "token_id": str(token_id), **facts}:
            return Secret(token), token_id, {"token_id": token_id, **facts}
        case {"token_id": str(token_id)}:
            return None, token_id, document
        case _:
            raise MalformedMessageError("answer", "it names no token")


def unchanged(document: Document) -> Any:
    """Return a document unchanged; its type is checked against /openapi.json by a test."""
    return document
