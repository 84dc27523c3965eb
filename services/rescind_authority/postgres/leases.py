"""Lease rows: the heartbeats of sidecars, and the ledger's end after their commit."""

from collections.abc import Sequence

import asyncpg

from rescind.wire.heartbeat import Heartbeat, Release
from rescind_authority.errors import StoreUnavailableError
from rescind_authority.ports.leases import CommittedBeats, Instance, RefusedHeartbeat
from rescind_authority.postgres.integrity.row_guard import RowGuard
from rescind_authority.postgres.ledger_tip import tip_of
from rescind_authority.postgres.pool import Borrowed, Postgres, rows, transaction


class PostgresLeases:
    """Store leases (port LeaseStore)."""

    def __init__(self, postgres: Postgres, guard: RowGuard) -> None:
        self._postgres = postgres
        self._guard = guard

    async def beat(self, heartbeats: Sequence[Heartbeat]) -> CommittedBeats:
        seen = self._guard.seen
        async with self._postgres.connection() as connection:
            async with transaction(connection):
                counted = await self._write_beats(connection, heartbeats)
            found = await self._read_end(connection)
        _require_same_server(counted, found)
        tip = tip_of(found, self._guard, seen=seen)
        return CommittedBeats(frozenset(row["instance"] for row in counted), tip)

    async def _write_beats(
        self, connection: Borrowed, heartbeats: Sequence[Heartbeat]
    ) -> Sequence[asyncpg.Record]:
        """Write the rows of G1. Return one row for each heartbeat that counts."""
        applied = [beat.applied for beat in heartbeats]
        return await rows(
            connection,
            "beat",
            [beat.instance for beat in heartbeats],
            [beat.service for beat in heartbeats],
            [beat.host for beat in heartbeats],
            [beat.version for beat in heartbeats],
            [beat.posture for beat in heartbeats],
            [beat.counter for beat in heartbeats],
            [position and position.epoch for position in applied],
            [position and position.seq for position in applied],
            [position and position.head for position in applied],
            [beat.nonce for beat in heartbeats],
            _packed_trails(heartbeats),
            [beat.trust_serial for beat in heartbeats],
        )

    async def _read_end(self, connection: Borrowed) -> Sequence[asyncpg.Record]:
        """Read G2 on the connection of G1, after its commit."""
        return await rows(connection, "ledger_tip")

    async def refuse(self, heartbeats: Sequence[Heartbeat]) -> Sequence[RefusedHeartbeat | None]:
        found = await self._postgres.write(
            "refuse",
            [beat.instance for beat in heartbeats],
            [beat.counter for beat in heartbeats],
            [beat.nonce for beat in heartbeats],
            _packed_trails(heartbeats),
        )
        refused = {
            row["place"]: RefusedHeartbeat(
                row["counter"], row["over"], row["repeated"], row["shared"]
            )
            for row in found
        }
        return [refused.get(place) for place in range(1, len(heartbeats) + 1)]

    async def release(self, releases: Sequence[Release]) -> None:
        await self._postgres.write(
            "release",
            [release.instance for release in releases],
            [release.counter for release in releases],
            _packed_trails(releases),
        )

    async def fleet(self) -> tuple[Instance, ...]:
        return tuple(
            Instance(
                instance=row["instance"],
                service=row["service"],
                host=row["host"],
                version=row["version_text"],
                posture=row["posture"],
                epoch=row["epoch"],
                applied_seq=row["applied_seq"],
                acked_seq=row["acked_seq"],
                first_seen_us=row["first_seen"],
                last_seen_us=row["last_seen"],
                released_at_us=row["released_at"],
                credential=row["credential"],
                evicted_at_us=row["evicted_at"],
                evicted_why=row["evicted_why"],
                trust_serial=row["trust_serial"],
            )
            for row in await self._postgres.rows("fleet")
        )


def _require_same_server(
    counted: Sequence[asyncpg.Record], found: Sequence[asyncpg.Record]
) -> None:
    """Raise StoreUnavailableError if G1 and G2 were answered by different servers.

    One connection leads to one server, except behind a pooler that sends each transaction to a
    server of its choice. The start time of a server, in microseconds, identifies it.
    """
    if {row["started"] for row in counted} - {row["started"] for row in found}:
        raise StoreUnavailableError(
            "a connection led to one server and then to another. Connect the authority without a "
            "pooler, or pool whole sessions"
        )


def _packed_trails(messages: Sequence[Heartbeat | Release]) -> list[bytes | None]:
    """Return trails in the form of the rows: concatenated nonces."""
    return [None if message.trail is None else b"".join(message.trail) for message in messages]
