"""Reads and lists of revocations."""

from collections.abc import Collection

from rescind.core.handles import Handle
from rescind_authority.ports.revocations import ScheduledLift, StoredRevocation
from rescind_authority.postgres.integrity.row_guard import RowGuard
from rescind_authority.postgres.pool import Postgres
from rescind_authority.postgres.rows import revocation_of, scheduled_lift_of


class PostgresRevocations:
    """Read and list revocations (port Revocations)."""

    def __init__(self, postgres: Postgres, guard: RowGuard) -> None:
        self._postgres = postgres
        self._guard = guard

    async def get(self, revocation_id: str) -> StoredRevocation | None:
        found = await self._postgres.rows("get_revocation", revocation_id)
        return revocation_of(found[0]) if found else None

    async def page(self, *, before_seq: int | None, limit: int) -> tuple[StoredRevocation, ...]:
        found = await self._postgres.rows("list_revocations", before_seq, limit)
        return tuple(revocation_of(row) for row in found)

    async def standing_revocations(
        self, handles: Collection[Handle], *, before_seq: int | None, limit: int
    ) -> tuple[StoredRevocation, ...]:
        handle_list = list(handles) or None
        found = await self._postgres.rows("standing_revocations", before_seq, limit, handle_list)
        return tuple(revocation_of(row) for row in found)

    async def scheduled_lifts(self, *, limit: int) -> tuple[ScheduledLift, ...]:
        found = await self._postgres.rows("timed_revocations", limit)
        # Another writer could move an end so that an authority lifts the revocation.
        return tuple(
            each for each in map(scheduled_lift_of, found) if self._guard.knows(each.event)
        )
