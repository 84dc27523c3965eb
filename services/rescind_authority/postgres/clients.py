"""OAuth clients, and the assertions that they have used."""

import hashlib

import asyncpg

from rescind_authority.ports.clients import StoredClient
from rescind_authority.postgres.pool import Postgres


class PostgresClients:
    """Read and remove clients (port Clients)."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def read_client(self, client_id: str) -> StoredClient | None:
        found = await self._postgres.rows("get_client", client_id)
        return _client_of(found[0]) if found else None

    async def list_clients(self, after: str, *, limit: int) -> tuple[StoredClient, ...]:
        found = await self._postgres.rows("list_clients", after, limit)
        return tuple(_client_of(row) for row in found)

    async def remove_client(self, client_id: str, *, credential: str, actor: str) -> bool:
        return bool(await self._postgres.write("remove_client", client_id, credential, actor))

    async def use_assertion(self, client_id: str, jti: str, *, expires_at_us: int) -> bool:
        jti_hash = hashlib.sha256(jti.encode()).digest()
        return bool(await self._postgres.write("use_assertion", client_id, jti_hash, expires_at_us))


def _client_of(row: asyncpg.Record) -> StoredClient:
    return StoredClient(
        client_id=row["client_id"],
        credential=row["credential"],
        registration=row["registration"],
        created_by=row["created_by"],
        created_at_us=row["created_at"],
    )
