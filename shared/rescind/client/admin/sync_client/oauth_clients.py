# Generated from async_client/oauth_clients.py by `python -m tests.support.sync_client`: edit that.
"""Calls about OAuth clients."""

from collections.abc import Generator, Mapping
from typing import Unpack

from rescind.client.admin import oauth_clients
from rescind.client.admin.oauth_clients import (
    ClientDetails,
    ClientRegistration,
    NewClient,
    RemovedClient,
)
from rescind.client.admin.sync_client.connection import AuthorityConnection


class OAuthClientCalls(AuthorityConnection):
    """The calls of an administrator about OAuth clients. They need `rescind:admin`."""

    def add_client(
        self,
        client_id: str,
        *,
        idempotency_key: str | None = None,
        **registration: Unpack[ClientRegistration],
    ) -> NewClient:
        """Add an OAuth client.

        Args:
            client_id: Its id, of your choice: letters, digits and `. _ -`.
            idempotency_key: A repeat with the same key adds no second client.
            **registration: What it may request.

        Returns:
            The client, with its secret. No later answer has the secret.

        Raises:
            ProblemError: A field is invalid (422), or the id is in use (409).
            OutcomeUnknownError: The client may have been added: repeat with the error's key.
            UnreachableError: No authority answers.
        """
        return self._send(oauth_clients.add(client_id, registration, idempotency_key))

    def rotate_client(
        self,
        client_id: str,
        *,
        overlap: float = 0,
        jwks: Mapping[str, object] | None = None,
        idempotency_key: str | None = None,
    ) -> NewClient:
        """Replace the secret or the keys of an OAuth client. Its tokens are not revoked.

        Args:
            client_id: The client.
            overlap: The seconds for which the old secret is accepted too.
            jwks: The new JWK set, for a client that has keys.
            idempotency_key: A repeat with the same key rotates once.

        Returns:
            The client, with its new secret.

        Raises:
            ProblemError: There is no such client (404), or a field is invalid (422).
            OutcomeUnknownError: It may have been rotated: repeat with the error's key.
            UnreachableError: No authority answers.
        """
        return self._send(oauth_clients.rotate(client_id, overlap, jwks, idempotency_key))

    def remove_client(
        self, client_id: str, *, reason: str = "", idempotency_key: str | None = None
    ) -> RemovedClient:
        """Remove an OAuth client, and revoke its credentials and all its tokens.

        Args:
            client_id: The client.
            reason: The reason, for the ledger and the audit.
            idempotency_key: A repeat with the same key revokes once.

        Returns:
            The ids of the revocations.

        Raises:
            ProblemError: There is no such client (404).
            OutcomeUnknownError: It may have been removed: repeat with the error's key.
            UnreachableError: No authority answers.
        """
        return self._send(oauth_clients.remove(client_id, reason, idempotency_key))

    def client(self, client_id: str) -> ClientDetails:
        """Return one OAuth client.

        Args:
            client_id: The client.

        Returns:
            The client, without its secret.

        Raises:
            ProblemError: There is no such client (404).
            UnreachableError: No authority answers.
        """
        return self._send(oauth_clients.fetch(client_id))

    def clients(self) -> Generator[ClientDetails]:
        """Iterate over the OAuth clients, in the order of their ids.

        Yields:
            Each client, without its secret.

        Raises:
            ProblemError: This token lacks `rescind:read` (403).
            UnreachableError: No authority answers.
        """
        return self._entries(oauth_clients.fetch_page)
