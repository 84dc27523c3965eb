"""The registry of OAuth clients."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StoredClient:
    """A client as it is stored.

    `credential` is the id of the token whose secret is the client's. `registration` is a JSON
    document, of which the credential has the SHA-256: a changed row is refused. `created_at_us` is
    Unix microseconds of Postgres's clock; 0 for a client that is not stored yet.
    """

    client_id: str
    credential: str
    registration: str
    created_by: str
    created_at_us: int = 0


class Clients(Protocol):
    """Read the registered clients, and remove them. A ledger transaction stores them."""

    async def read_client(self, client_id: str) -> StoredClient | None:
        """Read a client."""
        ...

    async def list_clients(self, after: str, *, limit: int) -> tuple[StoredClient, ...]:
        """List the clients whose ids come after this text, in the order of their ids."""
        ...

    async def remove_client(self, client_id: str, *, credential: str, actor: str) -> bool:
        """Delete a client; return False if there is none with this credential.

        Commits before it returns.
        """
        ...

    async def use_assertion(self, client_id: str, jti: str, *, expires_at_us: int) -> bool:
        """Store the id of an assertion until it expires; return False if it is stored already."""
        ...
