"""The lease terms in the head row. Each change is its own transaction."""

from collections.abc import Sequence

import asyncpg

from rescind_authority.errors import NotMigratedError
from rescind_authority.ports.leases import Term
from rescind_authority.postgres.pool import Postgres


class PostgresTerms:
    """Store the lease terms (port Terms)."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def get(self) -> Term:
        return _term_of(await self._postgres.rows("get_term"))

    async def set_target(self, term_ms: int, *, actor: str) -> Term:
        return _term_of(await self._postgres.write("set_target_term", term_ms, actor))

    async def move(self, version: int, *, grant_ms: int, wait_ms: int) -> bool:
        return bool(await self._postgres.write("move_term", version, grant_ms, wait_ms))


def _term_of(found: Sequence[asyncpg.Record]) -> Term:
    if not found:
        raise NotMigratedError
    row = found[0]
    return Term(
        grant_ms=row["grant_term_ms"],
        wait_ms=row["wait_term_ms"],
        target_ms=row["target_ms"],
        version=row["term_version"],
    )
