"""Delegation by OAuth's token exchange (RFC 8693).

The subject token is the parent: the delegated permissions are its own, and it authorises the
request, so a client may authenticate, and need not. The extensions are `subject`, which names the
subject of the new token, `ttl` and `max_depth`.
"""

import hashlib
from collections.abc import Sequence

from fastapi import Request
from pydantic import BaseModel

from rescind.core import scopes, well_known_scopes
from rescind.core.record import Record
from rescind.core.token_format import Kind
from rescind_authority.errors import FieldError
from rescind_authority.http.dependencies import UseCases, address_of, bind_key
from rescind_authority.http.oauth.requests import OAuthRequest, authenticate
from rescind_authority.http.oauth_errors import OAuthError
from rescind_authority.usecases.access.change_budgets import Cost
from rescind_authority.usecases.oauth.authentication import AuthenticatedClient, InvalidClientError
from rescind_authority.usecases.oauth.client_tokens import (
    BeyondRegistrationError,
    require_audience,
    require_grant,
    require_scopes,
)
from rescind_authority.usecases.oauth.registration import GrantType
from rescind_authority.usecases.tokens.delegate import (
    DelegateCommand,
    EndedRequesterError,
    Requester,
)
from rescind_authority.usecases.tokens.new_token import Minted, Repeated
from rescind_authority.usecases.validation import DEFAULT_TTL_S, MAX_TTL_S
from rescind_runtime.oauth.forms import BearerToken

ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 the name of a type

_MAX_DEPTH = 1_000
_NAME_LENGTH = 16


class ExchangeRequest(BaseModel):
    """The parameters of an exchange that count for its idempotency key."""

    subject: str | None
    scopes: list[str] | None
    audience: list[str]
    ttl: int | None
    max_depth: int | None
    client: str | None


async def exchange(
    sent: OAuthRequest, request: Request, *, key: str, use_cases: UseCases
) -> Minted | Repeated:
    """Delegate a part of the subject token's permissions, as `POST /v1/delegations` does.

    Raises OAuthError, or the errors of the use cases.
    """
    _require_types(sent)
    client = None
    if sent.credentials is not None and not isinstance(sent.credentials, BearerToken):
        client = await authenticate(sent, request, use_cases)
        require_grant(client, GrantType.TOKEN_EXCHANGE)
    address = address_of(request)
    holder = await use_cases.authoriser.holder(sent.values["subject_token"], address=address)
    request.state.caller = holder.name
    subject = sent.values.get("subject")
    if "actor_token" in sent.values:
        actor = await use_cases.authoriser.holder(sent.values["actor_token"], address=address)
        if subject not in {None, actor.record.subject}:
            raise OAuthError("invalid_request", "subject differs from the subject of actor_token.")
        subject = actor.record.subject
    body = ExchangeRequest(
        subject=subject,
        scopes=sent.values["scope"].split() if "scope" in sent.values else None,
        audience=list(sent.all("audience", "resource")),
        ttl=sent.number("ttl", most=MAX_TTL_S),
        max_depth=sent.number("max_depth", most=_MAX_DEPTH),
        client=None if client is None else client.client_id,
    )
    parent = holder.record
    command = _to_command(body, parent, client, key=key)
    use_cases.budgets.take(parent, Cost.DELEGATION)
    requester = None
    if client is not None:
        ttl_s = min(client.registration.ttl_s, DEFAULT_TTL_S)
        requester = Requester(client.client_id, client.credential, ttl_s)
    try:
        return await use_cases.delegator.delegate(
            command,
            parent_hash=parent.token_hash,
            idempotency=bind_key("POST /oauth/token", body, owner=parent.token_id, key=key),
            requester=requester,
        )
    except EndedRequesterError as error:
        raise InvalidClientError(actor=error.actor) from None


def _require_types(sent: OAuthRequest) -> None:
    values = sent.values
    for name in ("subject_token", "subject_token_type"):
        if name not in values:
            raise OAuthError("invalid_request", f"{name} is missing.")
    if ("actor_token" in values) != ("actor_token_type" in values):
        raise OAuthError("invalid_request", "send actor_token and actor_token_type together.")
    for name in ("subject_token_type", "requested_token_type", "actor_token_type"):
        if values.get(name, ACCESS_TOKEN) != ACCESS_TOKEN:
            raise OAuthError("invalid_request", f"{name} must be {ACCESS_TOKEN}.")


def _to_command(
    body: ExchangeRequest, parent: Record, client: AuthenticatedClient | None, *, key: str
) -> DelegateCommand:
    if client is not None:
        _require_registered(body, parent, client)
    # The same for a repeat under the key.
    name = hashlib.sha256(f"{parent.token_id} {key}".encode()).hexdigest()[:_NAME_LENGTH]
    return DelegateCommand(
        subject=f"{parent.subject}/{name}" if body.subject is None else body.subject,
        kind=Kind.AGENT,
        scopes=_choose_scopes(body.scopes, parent, client),
        audience=_choose_audience(body.audience, parent, client),
        ttl_s=body.ttl,
        labels={},
        max_depth=body.max_depth,
    )


def _require_registered(body: ExchangeRequest, parent: Record, client: AuthenticatedClient) -> None:
    """Raise BeyondRegistrationError for another tenant, or a longer lifetime, than registered."""
    registered = client.registration
    if registered.tenant is not None and parent.tenant != registered.tenant:
        raise BeyondRegistrationError(
            FieldError("subject_token", "it does not belong to the tenant of this client")
        )
    if body.ttl is not None and body.ttl > registered.ttl_s:
        raise BeyondRegistrationError(
            FieldError("ttl", f"this client is registered for at most {registered.ttl_s} seconds")
        )


def _choose_scopes(
    requested: Sequence[str] | None, parent: Record, client: AuthenticatedClient | None
) -> Sequence[str]:
    """Return the requested scopes, or by default those of the parent that may be delegated.

    Of a pattern that is wider than the registration, the registered part is delegated.
    """
    registered = () if client is None else client.registration.scopes
    if requested is None:
        whole = [
            scope
            for scope in parent.scopes
            if not well_known_scopes.own(scope)
            and (not registered or scopes.covers(registered, scope))
        ]
        parts = [scope for scope in registered if scopes.covers(parent.scopes, scope)]
        return sorted({*whole, *parts})
    if client is not None:
        require_scopes(client.registration, requested)
    return requested


def _choose_audience(
    requested: Sequence[str], parent: Record, client: AuthenticatedClient | None
) -> Sequence[str]:
    """Return the requested services; by default those of the parent, within the registration."""
    if client is None:
        return requested
    require_audience(client, requested)
    registered = client.registration.audience
    if requested or not registered:
        return requested
    allowed = [each for each in registered if not parent.audience or each in parent.audience]
    if not allowed:
        raise BeyondRegistrationError(
            FieldError("audience", "the parent is good at no service of this client's registration")
        )
    return allowed
