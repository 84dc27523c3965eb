"""Dependencies of the handlers: the use cases, the caller, and the idempotency key."""

import hashlib
import json
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Header, Request, Response, Security
from fastapi.security import HTTPBearer
from pydantic import BaseModel
from starlette.types import Scope as HttpScope

from rescind.core import token_format
from rescind.core.delegation import Right
from rescind.core.record import Record
from rescind.wire import bearer
from rescind_authority.errors import FieldError, ForbiddenError, InvalidRequestError
from rescind_authority.ports.audit import RefusedCall
from rescind_authority.ports.keys import Keys
from rescind_authority.ports.ledger import IdempotentRequest, Key
from rescind_authority.ports.metrics import Metrics
from rescind_authority.usecases.access.authoriser import Actor, Authoriser, Holder, Scope
from rescind_authority.usecases.access.change_budgets import Budgets
from rescind_authority.usecases.enforcement.enforcer import Enforcer
from rescind_authority.usecases.leases.lease_term import LeaseTermScheduler
from rescind_authority.usecases.leases.membership import Membership
from rescind_authority.usecases.oauth.authentication import ClientAuthenticator
from rescind_authority.usecases.oauth.client_tokens import ClientTokens
from rescind_authority.usecases.oauth.presented_tokens import PresentedTokens
from rescind_authority.usecases.oauth.registry import ClientRegistry
from rescind_authority.usecases.read_model.delegation_tree import Trees
from rescind_authority.usecases.read_model.inspector import Inspector
from rescind_authority.usecases.revocations.hit_counts import HitCounter
from rescind_authority.usecases.revocations.lift import Lifter
from rescind_authority.usecases.revocations.revoke import Revoker
from rescind_authority.usecases.sessions import Sessions
from rescind_authority.usecases.sidecar_api import SidecarApi
from rescind_authority.usecases.tokens.delegate import Delegator
from rescind_authority.usecases.tokens.issue import Issuer
from rescind_authority.usecases.tokens.rotate_and_expire import TokenChanger
from rescind_runtime.net.connection_limits import SCOPE_KEY, Connection

_KEY_BYTES = 16
_MAX_KEY = 200

_scheme = HTTPBearer(
    auto_error=False, scheme_name="admin token", description="A rescind token of kind admin."
)

_parent_scheme = HTTPBearer(
    auto_error=False, scheme_name="parent token", description="The token to delegate from."
)


@dataclass(frozen=True, slots=True)
class Health:
    """The health of the authority: `ok`, or one line with the problem, for each part."""

    ready: bool
    postgres: str
    nats: str
    trust: str = "ok"


@dataclass(frozen=True, slots=True)
class UseCases:
    """The use cases that a handler may call."""

    authoriser: Authoriser
    budgets: Budgets
    issuer: Issuer
    delegator: Delegator
    revoker: Revoker
    lifter: Lifter
    membership: Membership
    changer: TokenChanger
    clients: ClientRegistry
    client_authenticator: ClientAuthenticator
    client_tokens: ClientTokens
    presented_tokens: PresentedTokens
    sessions: Sessions
    inspector: Inspector
    trees: Trees
    enforcer: Enforcer
    hit_counter: HitCounter
    keys: Keys
    sidecar_api: SidecarApi
    term: LeaseTermScheduler
    metrics: Metrics
    refused: Callable[[RefusedCall], None]
    health: Callable[[], Awaitable[Health]]


# Coroutines, although they await nothing: FastAPI would run a plain function in a thread for each
# request, which costs more than the function itself.
async def find_use_cases(request: Request) -> UseCases:
    """Return the use cases of the application."""
    return cast("UseCases", request.app.state.use_cases)


def address_of(request: Request) -> str | None:
    """Return the caller's address: the connection's peer, or that reported by a trusted proxy."""
    return request.client.host if request.client else None


def owner_of(scope: HttpScope) -> str | None:
    """Return the id that the connection's latest request authenticated; None if there is none."""
    connection: Connection | None = scope.get(SCOPE_KEY)
    return None if connection is None else connection.owner


def mark_authenticated(scope: HttpScope, owner: str) -> None:
    """Mark a request as authenticated, by the token or the instance of this id.

    From then on its connection is not closed to make room for others.
    """
    connection: Connection | None = scope.get(SCOPE_KEY)
    if connection is not None:
        connection.prove(owner)


def mark_unauthenticated(scope: HttpScope) -> None:
    """Mark a request as not authenticated, also after `mark_authenticated`."""
    connection: Connection | None = scope.get(SCOPE_KEY)
    if connection is not None:
        connection.disprove()


def requires(*scopes: Scope) -> Callable[..., Awaitable[Actor]]:
    """Return a dependency that admits administrators with one of these scopes."""

    async def admit(
        request: Request,
        use_cases: Annotated[UseCases, Depends(find_use_cases)],
        _documented: Annotated[object, Security(_scheme)],
    ) -> Actor:
        actor = await use_cases.authoriser.recognise(
            bearer.find(request.scope["headers"]), address=address_of(request)
        )
        mark_authenticated(request.scope, actor.token_id)
        request.state.caller = actor.name  # for log and audit, if the scope is refused
        if not any(actor.holds(scope) for scope in scopes):
            raise ForbiddenError(scopes[0], "this call")
        return actor

    return admit


async def holder(
    request: Request,
    use_cases: Annotated[UseCases, Depends(find_use_cases)],
    _documented: Annotated[object, Security(_parent_scheme)],
) -> Holder:
    """Admit the bearer of a live token, for the calls that its holder may make."""
    found = await use_cases.authoriser.holder(
        bearer.find(request.scope["headers"]), address=address_of(request)
    )
    request.state.caller = found.name
    return found


async def parent(bearer: Annotated[Holder, Depends(holder)]) -> Record:
    """Admit the bearer of a live token, for a delegation if the token allows it."""
    return bearer.record


def may(right: Right, action: str) -> Callable[..., Awaitable[Holder]]:
    """Return a dependency that admits the bearer of a token whose holder has this right."""

    async def admit(bearer: Annotated[Holder, Depends(holder)]) -> Holder:
        bearer.require(right, action)
        return bearer

    return admit


Parent = Annotated[Record, Depends(parent)]
Rotator = Annotated[Holder, Depends(may(Right.ROTATE, "rotate it"))]
SessionHolder = Annotated[Holder, Depends(may(Right.SESSIONS, "list and end sessions"))]
InjectedUseCases = Annotated[UseCases, Depends(find_use_cases)]
# The OpenAPI document lists the scopes too: any one of them is sufficient.
Reader = Annotated[Actor, Security(requires(Scope.READ), scopes=[Scope.READ])]
IssuerActor = Annotated[
    Actor, Security(requires(Scope.ISSUE, Scope.ENROL), scopes=[Scope.ISSUE, Scope.ENROL])
]
AdminActor = Annotated[Actor, Security(requires(Scope.ADMIN), scopes=[Scope.ADMIN])]
RevokerActor = Annotated[Actor, Security(requires(Scope.REVOKE), scopes=[Scope.REVOKE])]
LifterActor = Annotated[Actor, Security(requires(Scope.LIFT), scopes=[Scope.LIFT])]


async def idempotency_key(
    request: Request,
    response: Response,
    key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            description="A repeat with the same key is not executed again. "
            "Without a key, the authority makes one and returns it.",
        ),
    ] = None,
) -> str:
    """Return the caller's key, or a new one; the response contains it in both cases."""
    if key is not None and not _is_key(key):
        raise InvalidRequestError(
            FieldError(
                "Idempotency-Key",
                f"expected 1 to {_MAX_KEY} printable ASCII characters, and no token among them",
            )
        )
    chosen = key or secrets.token_hex(_KEY_BYTES)
    response.headers["Idempotency-Key"] = chosen
    request.state.idempotency_key = chosen  # for a problem that asks to retry with it
    return chosen


def _is_key(text: str) -> bool:
    short = 0 < len(text) <= _MAX_KEY
    return short and text.isascii() and text.isprintable() and not token_format.contained(text)


IdempotencyKey = Annotated[str, Depends(idempotency_key)]


def bind_key(
    operation: str,
    body: BaseModel,
    *,
    owner: str,
    key: str,
    ignored: frozenset[str] = frozenset(),
) -> IdempotentRequest:
    """Bind the owner's idempotency key to one request.

    Only the fields that the caller set count, in any order. The `ignored` fields may differ in a
    repeat: they affect the response, not the command.
    """
    facts = body.model_dump(mode="json", exclude_unset=True, exclude=set(ignored))
    text = json.dumps(facts, sort_keys=True)
    body_hash = hashlib.sha256(f"{operation}\n{text}".encode()).digest()
    return IdempotentRequest(Key(owner, key), body_hash)
