"""Lease rows: what sidecars say of themselves. Each statement here commits on its own."""

from collections.abc import Sequence

from rescind.wire.heartbeat import Heartbeat, Release
from rescind_authority.ports.leases import Instance
from rescind_authority.postgres.pool import Postgres


class PostgresLeases:
    """Keep leases (port Leases)."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def beat(self, heartbeats: Sequence[Heartbeat]) -> frozenset[bytes]:
        applied = [beat.applied for beat in heartbeats]
        counted = await self._postgres.rows(
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
        )
        return frozenset(row["instance"] for row in counted)

    async def release(self, releases: Sequence[Release]) -> None:
        await self._postgres.rows(
            "release",
            [release.instance for release in releases],
            [release.counter for release in releases],
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
            )
            for row in await self._postgres.rows("fleet")
        )
