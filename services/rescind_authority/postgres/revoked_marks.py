"""The sweep: its progress, and the revoked marks that it writes."""

from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager

from rescind.core.handles import Handle
from rescind_authority.ports.revocations import Backlog, Revoke, SweepCursor
from rescind_authority.postgres.pool import Borrowed, Postgres, rows

_MAX_COUNTED = 10_000


class PostgresSweepTransaction:
    """One transaction of the sweep (port SweepTransaction)."""

    def __init__(self, connection: Borrowed, place: SweepCursor) -> None:
        self._connection = connection
        self.place = place

    async def next_revokes(self, *, up_to: int, most: int) -> tuple[Revoke, ...]:
        found = await rows(self._connection, "sweep_next", self.place.seq, up_to, most)
        return tuple(
            Revoke(row["seq"], tuple(Handle(text) for text in row["selector"])) for row in found
        )

    async def mark(self, seq: int, token_ids: Collection[str]) -> int:
        stamped = await rows(self._connection, "stamp_tokens", seq, list(token_ids))
        return int(stamped[0]["tokens"])

    async def store_progress(self, place: SweepCursor) -> None:
        await rows(self._connection, "note_sweep", place.seq, place.before)


class PostgresSweeps:
    """Lock the sweep for one turn at a time (port Sweeps)."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def backlog(self) -> Backlog:
        row = (await self._postgres.rows("sweep_backlog", _MAX_COUNTED))[0]
        return Backlog(swept=row["swept"], head=row["head"], waiting=row["waiting"])

    async def fence(self) -> int:
        return int((await self._postgres.rows("sweep_fence"))[0]["fence"])

    async def passed(self, fence: int) -> bool:
        return bool((await self._postgres.rows("sweep_passed", fence))[0]["passed"])

    @asynccontextmanager
    async def turn(self) -> AsyncGenerator[PostgresSweepTransaction | None]:
        async with self._postgres.transaction() as connection:
            locked = await rows(connection, "lock_sweep")
            place = SweepCursor(locked[0]["seq"], locked[0]["before"]) if locked else None
            yield None if place is None else PostgresSweepTransaction(connection, place)

    async def forget_keys(self, *, older_than_s: int, but: Collection[str], most: int) -> int:
        return len(await self._postgres.write("forget_keys", older_than_s, list(but), most))
