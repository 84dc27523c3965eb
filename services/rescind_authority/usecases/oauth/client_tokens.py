"""Issue tokens to OAuth clients: the grant `client_credentials` (RFC 6749, section 4.4)."""

from collections.abc import Sequence
from dataclasses import dataclass

from rescind.core import scopes
from rescind.core.record import MAX_SCOPES
from rescind.core.well_known_scopes import AUDIENCE
from rescind.errors import RescindError
from rescind_authority.errors import FieldError, UnauthenticatedError
from rescind_authority.ports.ledger import IdempotentRequest
from rescind_authority.usecases.access.change_budgets import Budgets, Cost
from rescind_authority.usecases.oauth.authentication import AuthenticatedClient, InvalidClientError
from rescind_authority.usecases.oauth.registration import GrantType, Registration
from rescind_authority.usecases.tokens.issue import IssueCommand, Issuer
from rescind_authority.usecases.tokens.new_token import Minted, Repeated


class GrantNotAllowedError(RescindError):
    """Raised when a client requests a grant that it is not registered for."""

    def __init__(self, grant: GrantType) -> None:
        super().__init__(f"this client is not registered for the grant {grant}.")


class BeyondRegistrationError(RescindError):
    """Raised when a client requests more than it is registered for."""

    def __init__(self, problem: FieldError) -> None:
        super().__init__(f"{problem.field}: {problem.detail}")
        self.problems = (problem,)


@dataclass(frozen=True, slots=True)
class ClientTokenRequest:
    """The scopes and services that a client requests; empty: all that it is registered for."""

    scopes: Sequence[str]
    audience: Sequence[str]


class ClientTokens:
    """Issue tokens to clients. Each token has the handle `client:<id>`."""

    def __init__(self, issuer: Issuer, budgets: Budgets) -> None:
        self._issuer = issuer
        self._budgets = budgets

    async def issue(
        self,
        client: AuthenticatedClient,
        request: ClientTokenRequest,
        *,
        idempotency: IdempotentRequest,
    ) -> Minted | Repeated:
        """Issue a token with a part of what a client is registered for.

        Raises GrantNotAllowedError, BeyondRegistrationError, TooManyChangesError, or the issuer's
        errors.
        """
        require_grant(client, GrantType.CLIENT_CREDENTIALS)
        registered = client.registration
        require_scopes(registered, request.scopes)
        require_audience(client, request.audience)
        self._budgets.take(client.credential, Cost.DELEGATION)
        command = IssueCommand(
            subject=client.credential.subject,
            kind=registered.kind,
            scopes=tuple(request.scopes) or registered.scopes,
            audience=tuple(request.audience) or registered.audience,
            ttl_s=registered.ttl_s,
            labels={},
            tenant=registered.tenant,
            client=client.client_id,
        )
        try:
            return await self._issuer.issue_to_client(
                command, credential=client.credential, idempotency=idempotency
            )
        except UnauthenticatedError as error:  # the credential ended meanwhile
            raise InvalidClientError(actor=error.actor) from None


def require_grant(client: AuthenticatedClient, grant: GrantType) -> None:
    """Raise GrantNotAllowedError unless a client is registered for a grant."""
    if grant not in client.registration.grants:
        raise GrantNotAllowedError(grant)


def require_scopes(registered: Registration, requested: Sequence[str]) -> None:
    """Raise BeyondRegistrationError for a scope beyond a registration, or for too many scopes.

    A registration without scopes allows all that the parent has.
    """
    # First: comparing all that fits into a body would keep the event loop for a second.
    if len(requested) > MAX_SCOPES:
        raise BeyondRegistrationError(FieldError("scopes", f"request at most {MAX_SCOPES} scopes"))
    for scope in requested:
        if registered.scopes and not scopes.covers(registered.scopes, scope):
            raise BeyondRegistrationError(
                FieldError("scopes", f"this client is not registered for {scope}")
            )


def require_audience(client: AuthenticatedClient, audience: Sequence[str]) -> None:
    """Raise BeyondRegistrationError for a service that a client is not registered for."""
    registered = client.registration.audience
    for service in audience:
        if service == AUDIENCE or (registered and service not in registered):
            raise BeyondRegistrationError(
                FieldError("audience", "this client is not registered for one of these services")
            )
