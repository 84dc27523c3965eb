"""What each call sends, and how its answer is read. No I/O: both clients share this."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NotRequired, TypedDict, TypeVar, cast
from urllib.parse import quote

from rescind.client.admin.receipts import Enforcement
from rescind.core.secret import Secret
from rescind.errors import MalformedMessageError

Document = Mapping[str, Any]
"""A JSON object of the API."""

PAGE = 200
"""How many entries a list asks for at once."""

_UNAVAILABLE = 503

Filters = Mapping[str, str | Sequence[str]]
"""What a list is narrowed to, by the names of the API's query parameters."""

T = TypeVar("T")


class SidecarBinding(TypedDict):
    """What the sidecars of a credential are bound to: the worst posture, and how many at once."""

    posture: NotRequired[str]
    instances: NotRequired[int]


class Grant(TypedDict):
    """What a new token may do. `ttl` is in seconds; `not_before` an RFC 3339 time."""

    subject: str
    kind: str
    scopes: NotRequired[Sequence[str]]
    audience: NotRequired[Sequence[str]]
    ttl: NotRequired[float]
    not_before: NotRequired[str]
    labels: NotRequired[Mapping[str, str]]
    tenant: NotRequired[str]
    client: NotRequired[str]
    session: NotRequired[str]
    may_speak_for: NotRequired[Sequence[str]]
    max_depth: NotRequired[int]
    addresses: NotRequired[Sequence[str]]
    verifier: NotRequired[Mapping[str, str]]
    user_agent: NotRequired[str]
    address: NotRequired[str]
    sidecars: NotRequired[SidecarBinding]


class Portion(TypedDict):
    """What of a token's power is handed on. `ttl` is in seconds; left out: an hour, or its end."""

    subject: str
    kind: NotRequired[str]
    scopes: NotRequired[Sequence[str]]
    audience: NotRequired[Sequence[str]]
    ttl: NotRequired[float]
    labels: NotRequired[Mapping[str, str]]
    may_speak_for: NotRequired[Sequence[str]]
    max_depth: NotRequired[int]
    addresses: NotRequired[Sequence[str]]
    verifier: NotRequired[Mapping[str, str]]


class Answer(TypedDict):
    """Whether to answer when it is enforced, or at once; `timeout` in seconds."""

    wait: NotRequired[bool]
    timeout: NotRequired[float]


class Manner(Answer):
    """Why something is done, and when to answer."""

    reason: NotRequired[str]


class Command(Manner):
    """What is to be done, and how, besides to whom; the names are the API's."""

    exact: NotRequired[bool]
    effect: NotRequired[str]
    scopes: NotRequired[Sequence[str]]
    issued_before: NotRequired[str]
    until: NotRequired[str]
    dry_run: NotRequired[bool]
    preview: NotRequired[str]


class Renewal(Manner):
    """How a token is rotated: seconds that the old secret stays good, and what its use later means.

    `on_reuse` is `revoke` (the token ends with all that was delegated from it) or `deny`.
    """

    overlap: NotRequired[float]
    on_reuse: NotRequired[str]


class Deed(TypedDict):
    """One command of a batch; the names are the API's. It has a selector, or a token's secret."""

    selector: NotRequired[Sequence[str]]
    token: NotRequired[str]
    exact: NotRequired[bool]
    effect: NotRequired[str]
    scopes: NotRequired[Sequence[str]]
    issued_before: NotRequired[str]
    until: NotRequired[str]
    preview: NotRequired[str]
    reason: NotRequired[str]


@dataclass(frozen=True, slots=True)
class Issued:
    """A new token. The secret is shown once, and None in a repeat; `facts` is the rest."""

    token: Secret | None
    token_id: str
    facts: Document


@dataclass(frozen=True, slots=True)
class Page:
    """Some entries of a list, and where the next ones begin: None at its end."""

    entries: tuple[Document, ...]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request, and how to read what comes back. A `key` marks a command.

    `also` are statuses that carry an answer besides 2xx.
    """

    method: str
    path: str
    read: Callable[[Document], T]
    query: Filters = field(default_factory=dict[str, "str | Sequence[str]"])
    body: Document | None = None
    key: str | None = None
    also: tuple[int, ...] = ()


def new_key() -> str:
    """Make an idempotency key: repeated under it, a command is carried out once."""
    return secrets.token_urlsafe(18)


def issue(grant: Grant, key: str | None) -> Call[Issued]:
    """Issue a token."""
    return Call("POST", "/v1/tokens", _issued, body=cast("Document", grant), key=key or new_key())


def delegate(portion: Portion, key: str | None) -> Call[Issued]:
    """Hand a portion of the bearer's power on."""
    body = cast("Document", portion)
    return Call("POST", "/v1/delegations", _issued, body=body, key=key or new_key())


def rotate(token_id: str, renewal: Renewal, key: str | None) -> Call[Issued]:
    """Give a token a new secret."""
    return _rotate(f"/v1/tokens/{quote(token_id, safe='')}/rotate", renewal, key)


def rotate_own(renewal: Renewal, key: str | None) -> Call[Issued]:
    """Give the bearer's own token a new secret."""
    return _rotate("/v1/rotations", renewal, key)


def _rotate(path: str, renewal: Renewal, key: str | None) -> Call[Issued]:
    body = cast("Document", renewal)
    return Call("POST", path, _issued, body=body, key=key or new_key())


def expire(token_id: str, at: str | None, manner: Manner, key: str | None) -> Call[Document]:
    """End a token early."""
    body = cast("Document", manner) if at is None else {**manner, "at": at}
    path = f"/v1/tokens/{quote(token_id, safe='')}/expire"
    return Call("POST", path, _itself, body=body, key=key or new_key())


def expire_each(
    token_ids: Sequence[str], at: str | None, reason: str, key: str | None
) -> Call[Document]:
    """End many tokens early."""
    body: dict[str, object] = {"token_ids": list(token_ids), "reason": reason}
    if at is not None:
        body["at"] = at
    return Call("POST", "/v1/tokens/expire", _itself, body=body, key=key or new_key())


def token(token_id: str) -> Call[Document]:
    """Look at one token."""
    return Call("GET", f"/v1/tokens/{quote(token_id, safe='')}", _itself)


def presented(secret: Secret) -> Call[Document]:
    """Look at the token that somebody holds."""
    return Call("POST", "/v1/tokens/look", _itself, body={"token": secret.reveal()})


def tokens(filters: Filters, cursor: str | None) -> Call[Page]:
    """List tokens, newest first."""
    return _list("/v1/tokens", "tokens", filters, cursor)


def count_tokens(filters: Filters) -> Call[Document]:
    """Count tokens."""
    return Call("GET", "/v1/tokens/count", _itself, query=filters)


def tree(token_id: str, depth: int, children: int) -> Call[Document]:
    """Look at what was delegated from a token."""
    query = {"depth": str(depth), "children": str(children)}
    return Call("GET", f"/v1/tokens/{quote(token_id, safe='')}/tree", _itself, query=query)


def children(token_id: str, cursor: str | None) -> Call[Page]:
    """List what was delegated from a token directly, oldest first."""
    return _list(f"/v1/tokens/{quote(token_id, safe='')}/children", "nodes", {}, cursor)


def revoke(selector: Sequence[str], command: Command, key: str | None) -> Call[Document]:
    """Revoke what has all of these handles."""
    body = {"selector": list(selector), **command}
    return Call("POST", "/v1/revocations", _itself, body=body, key=key or new_key())


def revoke_each(deeds: Sequence[Deed], answer: Answer, key: str | None) -> Call[Document]:
    """Carry out many commands, each with an outcome of its own."""
    body = {"revocations": [cast("Document", deed) for deed in deeds], **answer}
    return Call("POST", "/v1/revocations/batch", _itself, body=body, key=key or new_key())


def revoke_token(secret: Secret, command: Command, key: str | None) -> Call[Document]:
    """Revoke the token that somebody holds in hands."""
    body = {"token": secret.reveal(), **command}
    return Call("POST", "/v1/revocations", _itself, body=body, key=key or new_key())


def suspend(selector: Sequence[str], command: Command, key: str | None) -> Call[Document]:
    """Suspend what has all of these handles."""
    return revoke(selector, {**command, "effect": "suspend"}, key)


def narrow(
    selector: Sequence[str], scopes: Sequence[str], command: Command, key: str | None
) -> Call[Document]:
    """Take scopes away from what has all of these handles."""
    return revoke(selector, {**command, "effect": "narrow", "scopes": list(scopes)}, key)


def kill(subject: str, command: Command, key: str | None) -> Call[Document]:
    """Revoke and suspend all that speaks for a subject."""
    return revoke([f"chain:{subject}"], {**command, "effect": "kill"}, key)


def lift(revocation_id: str, manner: Manner, key: str | None) -> Call[Document]:
    """End a suspension or a narrowing."""
    path = f"/v1/revocations/{quote(revocation_id, safe='')}/lift"
    return Call("POST", path, _itself, body=cast("Document", manner), key=key or new_key())


def sessions() -> Call[Document]:
    """List the bearer's sessions."""
    return Call("GET", "/v1/sessions", _itself)


def log_out(
    token_id: str | None, everywhere: bool, answer: Answer, key: str | None
) -> Call[Document]:
    """End sessions of the bearer's subject."""
    body = {"token_id": token_id, "everywhere": everywhere, **answer}
    return Call("POST", "/v1/sessions/logout", _itself, body=body, key=key or new_key())


def revocation(revocation_id: str) -> Call[Document]:
    """Look at one revocation."""
    return Call("GET", f"/v1/revocations/{quote(revocation_id, safe='')}", _itself)


def receipt(revocation_id: str, timeout_s: float, cursor: str | None = None) -> Call[Enforcement]:
    """Wait for the receipt of a revocation, for so long; or fetch a later page of it."""
    path = f"/v1/revocations/{quote(revocation_id, safe='')}/receipt"
    query = {"timeout": f"{timeout_s:g}"}
    if cursor is not None:
        query["cursor"] = cursor
    return Call("GET", path, _enforcement, query=query)


def revocations(filters: Filters, cursor: str | None) -> Call[Page]:
    """List revocations, newest first."""
    return _list("/v1/revocations", "revocations", filters, cursor)


def newest_seq(revocations: Page) -> int:
    """Give the seq of the newest revocation on a first page; 0 while there is none."""
    match revocations.entries:
        case ({"seq": int(seq)}, *_):
            return seq
        case _:
            return 0


def fleet() -> Call[Document]:
    """List the sidecars, and how fresh each is."""
    return Call("GET", "/v1/fleet", _itself)


def evict(instance: str, reason: str) -> Call[Document]:
    """End a sidecar's instance for good."""
    path = f"/v1/fleet/{quote(instance, safe='')}/evict"
    return Call("POST", path, _itself, body={"reason": reason})


def term() -> Call[Document]:
    """Read the lease term."""
    return Call("GET", "/v1/term", _itself)


def set_term(term_ms: int) -> Call[Document]:
    """Ask for another lease term."""
    return Call("PUT", "/v1/term", _itself, body={"term_ms": term_ms})


def health() -> Call[Document]:
    """Ask whether the authority can do its work."""
    return Call("GET", "/readyz", _itself, also=(_UNAVAILABLE,))


def _list(path: str, name: str, filters: Filters, cursor: str | None) -> Call[Page]:
    query = {**filters, "limit": str(PAGE)}
    if cursor is not None:
        query["cursor"] = cursor

    def read(document: Document) -> Page:
        entries: object = document.get(name)
        if not isinstance(entries, list):
            raise MalformedMessageError("list", f"it has no {name!r}")
        return Page(tuple(cast("list[Document]", entries)), document.get("next"))

    return Call("GET", path, read, query=query)


def _issued(document: Document) -> Issued:
    match document:
        case {"token": str(token), "token_id": str(token_id), **facts}:
            return Issued(Secret(token), token_id, {"token_id": token_id, **facts})
        case {"token_id": str(token_id)}:
            return Issued(None, token_id, document)
        case _:
            raise MalformedMessageError("answer", "it names no token")


def _itself(document: Document) -> Document:
    return document


def _enforcement(document: Document) -> Enforcement:
    return cast("Enforcement", document)
