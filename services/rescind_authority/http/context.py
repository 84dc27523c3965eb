"""What every handler needs: the use cases, who calls, and the idempotency key."""

import hashlib
import json
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Header, Request, Response, Security
from fastapi.security import HTTPBearer
from pydantic import BaseModel

from rescind.core import tokens
from rescind.core.record import Record
from rescind.integrations import bearer
from rescind_authority.errors import FieldProblem, ForbiddenError, InvalidRequestError
from rescind_authority.metrics import Metrics
from rescind_authority.ports.keys import Keys
from rescind_authority.ports.ledger import Claim, Key
from rescind_authority.usecases.authorise import Actor, Authoriser, Scope
from rescind_authority.usecases.change import Changer
from rescind_authority.usecases.delegate import Delegator
from rescind_authority.usecases.desk import Desk
from rescind_authority.usecases.enforce import Enforcer
from rescind_authority.usecases.issue import Issuer
from rescind_authority.usecases.lift import Lifter
from rescind_authority.usecases.look import Looker
from rescind_authority.usecases.membership import Membership
from rescind_authority.usecases.revoke import Revoker
from rescind_authority.usecases.sessions import Sessions
from rescind_authority.usecases.term import TermKeeper
from rescind_authority.usecases.tree import Trees

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
    """How the authority is: one line of text for each part that is not as it should be."""

    ready: bool
    postgres: str
    nats: str


@dataclass(frozen=True, slots=True)
class UseCases:
    """Everything that a handler may call."""

    authoriser: Authoriser
    issuer: Issuer
    delegator: Delegator
    revoker: Revoker
    lifter: Lifter
    membership: Membership
    changer: Changer
    sessions: Sessions
    looker: Looker
    trees: Trees
    enforcer: Enforcer
    keys: Keys
    desk: Desk
    term: TermKeeper
    metrics: Metrics
    health: Callable[[], Awaitable[Health]]


# Coroutines, though they wait for nothing: FastAPI sends a plain function to a thread and back, for
# each request, which costs more than what it does.
async def use_cases(request: Request) -> UseCases:
    """Give the use cases that the application was made with."""
    return cast("UseCases", request.app.state.use_cases)


def address_of(request: Request) -> str | None:
    """Give the caller's address, as the server has it."""
    return request.client.host if request.client else None


def requires(*scopes: Scope) -> Callable[..., Awaitable[Actor]]:
    """Make a dependency that admits admins with one of these scopes."""

    async def admit(
        request: Request,
        authority: Annotated[UseCases, Depends(use_cases)],
        _documented: Annotated[object, Security(_scheme)],
    ) -> Actor:
        actor = await authority.authoriser.recognise(
            bearer.find(request.scope["headers"]), address=address_of(request)
        )
        if not any(actor.holds(scope) for scope in scopes):
            raise ForbiddenError(scopes[0], "this call")
        return actor

    return admit


async def parent(
    request: Request,
    authority: Annotated[UseCases, Depends(use_cases)],
    _documented: Annotated[object, Security(_parent_scheme)],
) -> Record:
    """Admit whoever bears a live token, which is what will be handed on."""
    return await authority.authoriser.parent(
        bearer.find(request.scope["headers"]), address=address_of(request)
    )


Parent = Annotated[Record, Depends(parent)]
Authority = Annotated[UseCases, Depends(use_cases)]
# The scopes stand in the OpenAPI document too: any one of them admits.
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
            description="Repeat a command under its key: it is carried out once. "
            "Made up for you, and returned, when you send none.",
        ),
    ] = None,
) -> str:
    """Take the caller's key, or make one; the answer names it either way."""
    if key is not None and not _is_key(key):
        raise InvalidRequestError(
            FieldProblem(
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
    return short and text.isascii() and text.isprintable() and not tokens.contained(text)


IdempotencyKey = Annotated[str, Depends(idempotency_key)]


def claim(
    operation: str,
    body: BaseModel,
    *,
    actor: Actor,
    key: str,
    besides: frozenset[str] = frozenset(),
) -> Claim:
    """Bind an admin's key to one request."""
    return bind(operation, body, owner=actor.subject, key=key, besides=besides)


def bind(
    operation: str,
    body: BaseModel,
    *,
    owner: str,
    key: str,
    besides: frozenset[str] = frozenset(),
) -> Claim:
    """Bind its owner's key to one request. Only what the caller set counts, in whatever order.

    The fields `besides` may differ in a repeat: they say how to answer, and not what to do.
    """
    facts = body.model_dump(mode="json", exclude_unset=True, exclude=set(besides))
    asked = json.dumps(facts, sort_keys=True)
    body_hash = hashlib.sha256(f"{operation}\n{asked}".encode()).digest()
    return Claim(Key(owner, key), body_hash)
