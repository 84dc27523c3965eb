"""OAuth clients: the requests of an administrator, and their answers. No I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NotRequired, TypedDict, cast
from urllib.parse import quote

from rescind.client.admin.calls import Call, Document, Page, list_page, new_key, unchanged
from rescind.client.admin.receipts import Timestamp
from rescind.client.admin.responses.tokens import TokenKind
from rescind.core.secret import Secret

GrantTypeName = Literal["client_credentials", "urn:ietf:params:oauth:grant-type:token-exchange"]

_PATH = "/v1/clients"


class ClientRegistration(TypedDict):
    """What a new client may request. A field that is left out has the default that is named."""

    grants: NotRequired[Sequence[str]]
    """The grant types of OAuth that it may use; default: none."""
    scopes: NotRequired[Sequence[str]]
    """The scopes that its tokens may have."""
    audience: NotRequired[Sequence[str]]
    """The services, or URLs of resources, of its tokens; default: any."""
    kind: NotRequired[str]
    """The kind of its tokens: `service` (the default) or `agent`."""
    ttl: NotRequired[float]
    """The lifetime of its tokens in seconds; default: an hour."""
    tenant: NotRequired[str]
    introspect: NotRequired[bool]
    """Whether it may introspect tokens; default: no."""
    jwks: NotRequired[Mapping[str, object]]
    """A JWK set of public keys: the client signs assertions, and has no secret."""


class ClientDetails(TypedDict):
    """A client, without its secret."""

    client_id: str
    subject: str
    """The subject of its tokens: `client:<client_id>`."""
    grants: list[GrantTypeName]
    scopes: list[str]
    audience: list[str]
    kind: TokenKind
    ttl: float
    tenant: str | None
    introspect: bool
    jwks: str | None
    """Its keys as JSON."""
    credential: str
    """The token id of its secret."""
    created_by: str
    created_at: Timestamp
    expires_at: Timestamp | None
    """The end of its credential."""
    state: Literal["active", "ended", "altered"]
    """`ended`: its credential was revoked or has expired. `altered`: no authority wrote its row."""


class NewClientDocument(ClientDetails):
    """The answer with a new credential."""

    client_secret: str | None


class ClientPageDocument(TypedDict):
    """A page of clients, and the cursor of the next one."""

    clients: list[ClientDetails]
    next: str | None


class RemovedClient(TypedDict):
    """The revocations with which a client was removed."""

    client_id: str
    revocations: list[str]


@dataclass(frozen=True, slots=True)
class NewClient:
    """A client with a new credential.

    `secret` is its secret, which no later answer has. It is None in a repeat, and for a client with
    keys.
    """

    secret: Secret | None
    client_id: str
    facts: ClientDetails


def add(client_id: str, registration: ClientRegistration, key: str | None) -> Call[NewClient]:
    """Add a client."""
    body = {"client_id": client_id, **registration}
    return Call("POST", _PATH, _read_new, body=body, key=key or new_key())


def rotate(
    client_id: str, overlap: float, jwks: Mapping[str, object] | None, key: str | None
) -> Call[NewClient]:
    """Replace a client's secret or keys."""
    body: dict[str, object] = {"overlap": overlap} if jwks is None else {"jwks": jwks}
    return Call("POST", f"{_of(client_id)}/rotate", _read_new, body=body, key=key or new_key())


def remove(client_id: str, reason: str, key: str | None) -> Call[RemovedClient]:
    """Remove a client, and revoke its tokens."""
    path = f"{_of(client_id)}/remove"
    return Call("POST", path, unchanged, body={"reason": reason}, key=key or new_key())


def fetch(client_id: str) -> Call[ClientDetails]:
    """Fetch one client."""
    return Call("GET", _of(client_id), unchanged)


def fetch_page(cursor: str | None) -> Call[Page[ClientDetails]]:
    """List clients, in the order of their ids."""
    return list_page(_PATH, "clients", {}, cursor)


def _of(client_id: str) -> str:
    return f"{_PATH}/{quote(client_id, safe='')}"


def _read_new(document: Document) -> NewClient:
    facts = {name: each for name, each in document.items() if name != "client_secret"}
    secret = document.get("client_secret")
    return NewClient(
        Secret(secret) if isinstance(secret, str) else None,
        str(document["client_id"]),
        cast("ClientDetails", facts),
    )
