"""The registration of an OAuth client: what it may request.

It is stored as a JSON document. The client's credential, a token, has the document's SHA-256 as the
label `registration`, so that the MAC of the token's row covers the document too.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from rescind.core.record import Record
from rescind.core.token_format import Kind
from rescind.core.well_known_scopes import CLIENT

LABEL = "registration"
SUBJECT = "client:"
"""The start of the subject of a client's credential, before its id."""


class GrantType(StrEnum):
    """The grant types that a client may use at the token endpoint."""

    CLIENT_CREDENTIALS = "client_credentials"
    TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 the name of a grant


@dataclass(frozen=True, slots=True)
class Registration:
    """What a client may request.

    Its tokens have at most these scopes, and this audience; an empty audience means any service.
    They are of this `kind`, live for `ttl_s` seconds, and belong to the tenant. A client with
    `jwks`, a JWK set of public keys as JSON, authenticates by assertions, and has no secret.
    """

    grants: tuple[GrantType, ...]
    scopes: tuple[str, ...]
    audience: tuple[str, ...]
    kind: Kind
    ttl_s: int
    tenant: str | None = None
    introspect: bool = False
    jwks: str | None = None

    def encode(self) -> str:
        """Return the document of this registration."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))


NOTHING = Registration(grants=(), scopes=(), audience=(), kind=Kind.SERVICE, ttl_s=0)
"""The registration of a client whose row no authority wrote."""


def decode(document: str) -> Registration:
    """Return the registration in a document that `covers` confirmed."""
    members: dict[str, Any] = json.loads(document)
    return Registration(
        grants=tuple(GrantType(each) for each in members["grants"]),
        scopes=tuple(members["scopes"]),
        audience=tuple(members["audience"]),
        kind=Kind(members["kind"]),
        ttl_s=members["ttl_s"],
        tenant=members["tenant"],
        introspect=members["introspect"],
        jwks=members["jwks"],
    )


def fingerprint(document: str) -> str:
    """Return the SHA-256 of a document, as the label of a credential has it."""
    return hashlib.sha256(document.encode()).hexdigest()


def covers(credential: Record, client_id: str, document: str) -> bool:
    """Return True if an authority wrote this document for this client and this credential."""
    return (
        credential.kind is Kind.SERVICE
        and credential.subject == SUBJECT + client_id
        and CLIENT in credential.granted
        and dict(credential.labels).get(LABEL) == fingerprint(document)
    )
