"""Tokens together with what may hold them, in one snapshot."""

from collections.abc import Collection, Sequence

import asyncpg

from rescind_authority.errors import NotMigratedError
from rescind_authority.ports.tokens import (
    Candidate,
    Pending,
    Snapshot,
    StoredToken,
    TokenState,
)
from rescind_authority.postgres.pool import Postgres
from rescind_authority.postgres.rows import candidate_of, pending_of, token_of


class PostgresRecords:
    """Read records (ports Records and Ends)."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def by_hash(self, hashes: Collection[bytes]) -> Snapshot:
        return snapshot_of(await self._postgres.rows("records_by_hash", list(hashes)))

    async def by_id(self, token_ids: Collection[str]) -> Snapshot:
        return snapshot_of(await self._postgres.rows("records_by_id", list(token_ids)))

    async def pending(self, *, limit: int) -> tuple[Pending, ...]:
        found = await self._postgres.rows("pending_ends", limit)
        return tuple(pending_of(row) for row in found)


def snapshot_of(rows: Sequence[asyncpg.Record]) -> Snapshot:
    """Read tokens and their revocations: one row for each pair. Raises NotMigratedError."""
    if not rows:
        raise NotMigratedError
    # By hash, not by id: a token may be asked for by the secret that it had before as well.
    found: dict[bytes, tuple[StoredToken, list[Candidate]]] = {}
    for row in rows:
        if row["token_id"] is None:
            continue
        if row["token_hash"] not in found:
            found[row["token_hash"]] = (token_of(row), [])
        if row["revocation_id"] is not None:
            found[row["token_hash"]][1].append(candidate_of(row))
    return Snapshot(
        epoch=rows[0]["ledger_epoch"],
        as_of=rows[0]["as_of"],
        at_us=rows[0]["at"],
        tokens=tuple(TokenState(token, tuple(candidates)) for token, candidates in found.values()),
    )
