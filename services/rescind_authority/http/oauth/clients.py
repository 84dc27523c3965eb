"""`/v1/clients`: the registry of OAuth clients, for administrators."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response, status
from pydantic import BaseModel, ConfigDict, Field

from rescind.core.token_format import Kind
from rescind.core.well_known_scopes import SERVICE
from rescind_authority.http import problems, timestamps
from rescind_authority.http.dependencies import (
    AdminActor,
    IdempotencyKey,
    InjectedUseCases,
    Reader,
    bind_key,
)
from rescind_authority.usecases.oauth.registration import SUBJECT, GrantType
from rescind_authority.usecases.oauth.registry import (
    AddCommand,
    ClientState,
    NewCredential,
    RegisteredClient,
)

router = APIRouter(prefix="/v1/clients", tags=["clients"])

_NO_CLIENT = problems.openapi_responses({404: "There is no such client."})
_DEFAULT_TTL_S = 3_600
_MAX_PAGE = 1_000

_Jwks = dict[str, Any]


class ClientRequest(BaseModel):
    """An OAuth client, and what it may request."""

    model_config = ConfigDict(extra="forbid")

    client_id: str = Field(description="Its id, of your choice.", examples=["billing"])
    grants: list[GrantType] = Field(default=[], description="The grant types that it may use.")
    scopes: list[str] = Field(
        default=[],
        description="The scopes that its tokens may have. For exchanges alone, empty means those "
        "of the parent.",
        examples=[["orders:read"]],
    )
    audience: list[str] = Field(
        default=[], description="The services, or URLs of resources, of its tokens. Empty: any."
    )
    kind: Kind = Field(default=Kind.SERVICE, description="The kind of its tokens: also `agent`.")
    ttl: float = Field(
        default=_DEFAULT_TTL_S, description="The lifetime of its tokens in seconds, at most a day."
    )
    tenant: str | None = Field(default=None, description="The tenant of its tokens.")
    introspect: bool = Field(default=False, description="Whether it may introspect tokens.")
    jwks: _Jwks | None = Field(
        default=None,
        description="A JWK set of public keys. The client signs assertions, and has no secret.",
    )


class ClientRotateRequest(BaseModel):
    """A new secret or new keys for a client."""

    model_config = ConfigDict(extra="forbid")

    overlap: float = Field(
        default=0, description="The seconds for which the old secret is accepted too."
    )
    jwks: _Jwks | None = Field(
        default=None, description="The new keys, for a client that has keys."
    )


class ClientRemoveRequest(BaseModel):
    """The reason for which a client is removed."""

    model_config = ConfigDict(extra="forbid")

    reason: str = ""


class ClientFacts(BaseModel):
    """A client, without its secret."""

    client_id: str
    subject: str = Field(description="The subject of its tokens: revoke or kill it by this name.")
    grants: list[GrantType]
    scopes: list[str]
    audience: list[str]
    kind: Kind
    ttl: float
    tenant: str | None
    introspect: bool
    jwks: str | None = Field(description="Its keys as JSON.")
    credential: str = Field(description="The token id of its secret.")
    created_by: str
    created_at: datetime
    expires_at: datetime | None = Field(description="The end of its credential: rotate it before.")
    state: ClientState


class NewClientFacts(ClientFacts):
    """A client with a new credential."""

    client_secret: str | None = Field(
        description="Shown only once. Null for a client with keys, and for a repeat."
    )


class ClientPage(BaseModel):
    """Clients in the order of their ids."""

    clients: list[ClientFacts]
    next: str | None = Field(description="The cursor of the next page. Null: this is the last.")


class RemovedClientFacts(BaseModel):
    """The revocations with which a client was removed."""

    client_id: str
    revocations: list[str] = Field(
        description="Of its credentials, and of its tokens: wait for their receipts."
    )


class ClientQuery(BaseModel):
    """A page of clients."""

    model_config = ConfigDict(extra="forbid")

    cursor: str = Field(default="", pattern=rf"^({SERVICE})?$")
    limit: int = Field(default=100, ge=1, le=_MAX_PAGE)


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    summary="Add a client",
    responses=problems.openapi_responses({409: "A client of this id exists."}),
)
async def add(
    body: ClientRequest,
    response: Response,
    actor: AdminActor,
    key: IdempotencyKey,
    use_cases: InjectedUseCases,
) -> NewClientFacts:
    """Add a client. Only this response shows its secret."""
    added = await use_cases.clients.add(
        AddCommand(
            client_id=body.client_id,
            grants=body.grants,
            scopes=body.scopes,
            audience=body.audience,
            kind=body.kind,
            ttl_s=body.ttl,
            tenant=body.tenant,
            introspect=body.introspect,
            jwks=body.jwks,
        ),
        actor=actor,
        idempotency=bind_key("POST /v1/clients", body, owner=actor.subject, key=key),
    )
    return _respond(added, response)


@router.get("", summary="List clients")
async def page(
    query: Annotated[ClientQuery, Query()], _actor: Reader, use_cases: InjectedUseCases
) -> ClientPage:
    """List clients in the order of their ids."""
    # One more than requested shows whether there is a next page.
    found = await use_cases.clients.list(after=query.cursor, limit=query.limit + 1)
    shown = found[: query.limit]
    return ClientPage(
        clients=[ClientFacts(**_facts_of(each)) for each in shown],
        next=shown[-1].stored.client_id if len(found) > query.limit else None,
    )


@router.get("/{client_id}", summary="Look at a client", responses=_NO_CLIENT)
async def look(client_id: str, _actor: Reader, use_cases: InjectedUseCases) -> ClientFacts:
    """Return one client."""
    return ClientFacts(**_facts_of(await use_cases.clients.get(client_id)))


@router.post(
    "/{client_id}/rotate",
    status_code=status.HTTP_201_CREATED,
    summary="Rotate a client's secret or keys",
    responses=_NO_CLIENT,
)
async def rotate(
    *,
    client_id: str,
    body: ClientRotateRequest,
    response: Response,
    actor: AdminActor,
    key: IdempotencyKey,
    use_cases: InjectedUseCases,
) -> NewClientFacts:
    """Replace a client's secret or keys. A revocation of `client:<id>` ends its tokens."""
    operation = f"POST /v1/clients/{client_id}/rotate"
    rotated = await use_cases.clients.rotate(
        client_id,
        overlap_s=body.overlap,
        jwks=body.jwks,
        actor=actor,
        idempotency=bind_key(operation, body, owner=actor.subject, key=key),
    )
    return _respond(rotated, response)


@router.post(
    "/{client_id}/remove",
    summary="Remove a client",
    responses=_NO_CLIENT,
)
async def remove(
    *,
    client_id: str,
    body: ClientRemoveRequest,
    actor: AdminActor,
    key: IdempotencyKey,
    use_cases: InjectedUseCases,
) -> RemovedClientFacts:
    """Remove a client, and revoke its credentials and all its tokens. This is final."""
    operation = f"POST /v1/clients/{client_id}/remove"
    committed = await use_cases.clients.remove(
        client_id,
        reason=body.reason,
        actor=actor,
        idempotency=bind_key(operation, body, owner=actor.subject, key=key),
    )
    return RemovedClientFacts(
        client_id=client_id, revocations=[each.revocation_id for each in committed]
    )


def _respond(new: NewCredential, response: Response) -> NewClientFacts:
    response.headers["Cache-Control"] = "no-store"
    secret = None if new.secret is None else new.secret.reveal()
    return NewClientFacts(**_facts_of(new.client), client_secret=secret)


def _facts_of(client: RegisteredClient) -> dict[str, Any]:
    stored, registered = client.stored, client.registration
    return {
        "client_id": stored.client_id,
        "subject": f"{SUBJECT}{stored.client_id}",
        "grants": list(registered.grants),
        "scopes": list(registered.scopes),
        "audience": list(registered.audience),
        "kind": registered.kind,
        "ttl": registered.ttl_s,
        "tenant": registered.tenant,
        "introspect": registered.introspect,
        "jwks": registered.jwks,
        "credential": stored.credential,
        "created_by": stored.created_by,
        "created_at": timestamps.from_us(stored.created_at_us),
        "expires_at": timestamps.from_us(client.expires_at_us) if client.expires_at_us else None,
        "state": client.state,
    }
