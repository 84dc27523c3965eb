"""Authenticate OAuth clients, by their secret or by an assertion."""

from dataclasses import dataclass

from rescind.core.record import Record
from rescind.core.well_known_scopes import CLIENT
from rescind_authority.errors import UnauthenticatedError
from rescind_authority.ports.clients import Clients, StoredClient
from rescind_authority.ports.tokens import TokenRecords
from rescind_authority.usecases.access.authoriser import Authoriser, actor_name, find_denial
from rescind_authority.usecases.lookups.resolver import record_of
from rescind_authority.usecases.oauth import assertions, registration
from rescind_authority.usecases.oauth.assertions import InvalidAssertionError, WrongSignatureError
from rescind_authority.usecases.oauth.key_sets import ALGORITHMS
from rescind_authority.usecases.oauth.registration import SUBJECT, Registration
from rescind_runtime.oauth.forms import ClientAssertion, ClientSecret, Credentials

_WRONG = "the client's id or secret is wrong, or the client is suspended."
_WRONG_ASSERTION = (
    "no client that may authenticate has this id and a key that made the signature, with one of "
    f"{', '.join(ALGORITHMS)}."
)
"""One text for all that a caller without the key may not learn: which clients there are, which are
suspended, and which have keys."""


class InvalidClientError(UnauthenticatedError):
    """Raised when a client is not authenticated. `actor` is its name in the audit, if known."""

    def __init__(self, problem: str = _WRONG, *, actor: str | None = None) -> None:
        super().__init__(problem, actor=actor)


@dataclass(frozen=True, slots=True)
class AuthenticatedClient:
    """A client, the record of its credential, and what it may request."""

    client_id: str
    credential: Record
    registration: Registration

    @property
    def name(self) -> str:
        """Return the client's name in the ledger and in the audit."""
        return actor_name(self.credential.subject, self.credential.token_id)


class ClientAuthenticator:
    """Authenticate clients. Each call reads the credential: a revocation takes effect at once."""

    def __init__(
        self,
        clients: Clients,
        *,
        authoriser: Authoriser,
        records: TokenRecords,
    ) -> None:
        self._clients = clients
        self._authoriser = authoriser
        self._records = records

    async def authenticate(
        self, credentials: Credentials | None, *, address: str | None, issuer: str | None
    ) -> AuthenticatedClient:
        """Return the client with these credentials, which calls from an address.

        `issuer` is the OAuth issuer of this authority, for which assertions are made.

        Raises InvalidClientError, or the store's errors.
        """
        match credentials:
            case ClientSecret():
                return await self._by_secret(credentials, address)
            case ClientAssertion():
                return await self._by_assertion(credentials, issuer)
            case _:
                raise InvalidClientError(
                    "authenticate as a client: by HTTP Basic, by `client_id` and `client_secret`, "
                    "or by `client_assertion`."
                )

    async def _by_secret(
        self, credentials: ClientSecret, address: str | None
    ) -> AuthenticatedClient:
        try:
            bearer = await self._authoriser.holder(credentials.secret, address=address)
        except UnauthenticatedError as error:
            raise InvalidClientError(actor=error.actor) from None
        credential = bearer.record
        client_id = credential.subject.removeprefix(SUBJECT)
        if client_id not in credentials.client_ids:
            raise InvalidClientError(actor=bearer.name)
        client = _build_client(await self._clients.read_client(client_id), credential)
        if client.registration.jwks is not None:
            raise InvalidClientError(
                "this client authenticates by assertions alone.", actor=client.name
            )
        return client

    async def _by_assertion(
        self, credentials: ClientAssertion, issuer: str | None
    ) -> AuthenticatedClient:
        if issuer is None:
            raise InvalidClientError(
                "assertions are not accepted: this authority has no issuer (RESCIND_ISSUER)."
            )
        try:
            client_id = assertions.find_client_id(credentials.assertion)
        except InvalidAssertionError as error:
            raise InvalidClientError(str(error)) from None
        if credentials.client_id not in {None, client_id}:
            raise InvalidClientError("`client_id` differs from the client of the assertion.")
        client, at_us = await self._find(client_id)
        jwks = None if client is None else client.registration.jwks
        if client is None or jwks is None:
            raise InvalidClientError(_WRONG_ASSERTION)
        await self._use_assertion(client, jwks, credentials.assertion, issuer, at_us=at_us)
        return client

    async def _find(self, client_id: str) -> tuple[AuthenticatedClient | None, int]:
        """Return a client that may authenticate, or None, and the time (Unix µs).

        The time is Postgres's, which also deletes the assertions that have expired.
        """
        stored = await self._clients.read_client(client_id)
        if stored is None:
            return None, 0
        snapshot = await self._records.by_id([stored.credential])
        state = next(iter(snapshot.tokens), None)
        if state is None:
            return None, snapshot.at_us
        credential = record_of(state, snapshot)
        if find_denial(credential, snapshot.at_us) is not None:
            return None, snapshot.at_us
        try:
            return _build_client(stored, credential), snapshot.at_us
        except InvalidClientError:
            return None, snapshot.at_us

    async def _use_assertion(
        self, client: AuthenticatedClient, jwks: str, assertion: str, issuer: str, *, at_us: int
    ) -> None:
        try:
            accepted = assertions.verify(
                assertion,
                client_id=client.client_id,
                jwks=jwks,
                audiences=(issuer, f"{issuer}/oauth/token"),
                now_us=at_us,
            )
        except WrongSignatureError:
            # The audit names no client: a caller without the key can send this.
            raise InvalidClientError(_WRONG_ASSERTION) from None
        except InvalidAssertionError as error:
            raise InvalidClientError(str(error), actor=client.name) from None
        if not await self._clients.use_assertion(
            client.client_id, accepted.jti, expires_at_us=accepted.expires_at_us
        ):
            raise InvalidClientError("the assertion was used before.", actor=client.name)


def _build_client(stored: StoredClient | None, credential: Record) -> AuthenticatedClient:
    """Return the client of a credential that is accepted. Raises InvalidClientError."""
    if (
        stored is None
        or CLIENT not in credential.scopes
        or not registration.covers(credential, stored.client_id, stored.registration)
    ):
        raise InvalidClientError(actor=actor_name(credential.subject, credential.token_id))
    return AuthenticatedClient(
        stored.client_id, credential, registration.decode(stored.registration)
    )
