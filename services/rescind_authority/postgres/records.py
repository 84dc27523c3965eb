"""Tokens with the revocations that may apply to them, in one snapshot."""

from collections.abc import Awaitable, Callable, Collection, Sequence

import asyncpg

from rescind_authority.errors import NotMigratedError, StoreContendedError
from rescind_authority.ports.tokens import (
    ScheduledEnd,
    Snapshot,
    TokenState,
)
from rescind_authority.postgres.integrity.ledger_watch import Read
from rescind_authority.postgres.integrity.row_guard import RowGuard, StaleSnapshotError
from rescind_authority.postgres.pool import Postgres
from rescind_authority.postgres.rows import candidate_of, pending_of, token_of

_ATTEMPTS = 4


class PostgresRecords:
    """Read records (ports TokenRecords and Ends). A row that the guard refuses is left out."""

    def __init__(self, postgres: Postgres, guard: RowGuard) -> None:
        self._postgres = postgres
        self._guard = guard

    async def by_hash(self, hashes: Collection[bytes]) -> Snapshot:
        return await self._read_snapshot("records_by_hash", list(hashes))

    async def by_id(self, token_ids: Collection[str]) -> Snapshot:
        return await self._read_snapshot("records_by_id", list(token_ids))

    async def _read_snapshot(self, query: str, keys: Collection[object]) -> Snapshot:
        _, snapshot = await read_snapshot(
            lambda: self._postgres.rows(query, keys), self._guard, self._postgres.rows
        )
        return snapshot

    async def pending(self, *, limit: int) -> tuple[ScheduledEnd, ...]:
        found = await self._postgres.rows("pending_ends", limit)
        return tuple(pending_of(row) for row in found)

    async def end_idle(self, *, delay_us: int, limit: int) -> int:
        return int((await self._postgres.write("end_idle", delay_us, limit))[0]["looked_at"])


async def read_snapshot(
    run: Callable[[], Awaitable[Sequence[asyncpg.Record]]], guard: RowGuard, read: Read
) -> tuple[Sequence[asyncpg.Record], Snapshot]:
    """Run a query that reads tokens; return its rows and their snapshot.

    Repeats the query if this host has seen a later event meanwhile. Raises StoreForgedError if this
    host had seen a later event before the query.
    """
    for _ in range(_ATTEMPTS):
        seen = guard.seen
        found = await run()
        if found:
            if found[0]["ledger_epoch"] and found[0]["as_of"] < seen:
                await guard.follow_to_end(read)
                continue
            await guard.verify_up_to(found[0]["as_of"], read)
        try:
            return found, snapshot_of(found, guard)
        except StaleSnapshotError:
            continue
    raise StoreContendedError("StaleSnapshot")


def snapshot_of(rows: Sequence[asyncpg.Record], guard: RowGuard) -> Snapshot:
    """Convert rows, one for each token and revocation, to a snapshot. Raises NotMigratedError."""
    if not rows:
        raise NotMigratedError
    # By hash, not by id: the query may name a token by its former secret as well.
    read: dict[bytes, list[asyncpg.Record]] = {}
    for row in rows:
        if row["token_id"] is not None:
            read.setdefault(row["token_hash"], []).append(row)
    states = (_state_of(found, guard) for found in read.values())
    return Snapshot(
        epoch=rows[0]["ledger_epoch"],
        as_of=rows[0]["as_of"],
        at_us=rows[0]["at"],
        tokens=tuple(state for state in states if state is not None),
    )


def _state_of(rows: Sequence[asyncpg.Record], guard: RowGuard) -> TokenState | None:
    """Read one token with its revocations, unless the guard refuses it."""
    token = rows[0]
    if not guard.is_sound(token):
        return None
    candidates = tuple(candidate_of(row) for row in rows if row["revocation_id"] is not None)
    if not guard.is_complete(token, candidates):
        return None
    return TokenState(token_of(token), candidates)
