"""Enrolments of sidecar instances."""

from collections.abc import Collection, Mapping

from rescind_authority.ports.enrolments import (
    Binding,
    EnrolledInstance,
    Enrolment,
    Evicted,
    NoPlace,
)
from rescind_authority.postgres.integrity.row_guard import RowGuard
from rescind_authority.postgres.pool import Postgres, rows

_US_PER_MS = 1000
_NO_SIDECARS = Binding("strict", 0)
"""The binding of a credential that is missing or was changed: it allows no sidecar."""


class PostgresEnrolments:
    """Store enrolments (port Enrolments)."""

    def __init__(self, postgres: Postgres, guard: RowGuard) -> None:
        self._postgres = postgres
        self._guard = guard

    async def read(self, instances: Collection[bytes]) -> Mapping[bytes, EnrolledInstance]:
        return {
            row["instance"]: EnrolledInstance(
                Enrolment(row["instance"], row["credential"], row["service"], row["posture"]),
                silent=row["silent"],
                evicted=row["evicted_why"],
            )
            for row in await self._postgres.rows("enrolments", list(instances))
        }

    async def binding(self, credential: str) -> Binding:
        found = await self._postgres.rows("binding", credential)
        if not found or not self._guard.is_token_sound(found[0]["whole"]):
            return _NO_SIDECARS
        token = found[0]["whole"]
        return Binding(token["worst_posture"], token["most_instances"])

    async def enrol(self, enrolment: Enrolment, *, most: int, most_begun: int) -> NoPlace | None:
        async with self._postgres.transaction() as connection:
            # A separate statement: the next one's snapshot then shows the former lock holder's row.
            await rows(connection, "lock_credential", enrolment.credential)
            (row,) = await rows(
                connection,
                "enrol",
                enrolment.instance,
                enrolment.credential,
                enrolment.service,
                enrolment.posture,
                most,
                most_begun,
            )
        if row["enrolled"]:
            return None
        return NoPlace(row["evicted_why"], row["placed"], row["begun"])

    async def evict(self, instance: bytes, *, why: str, actor: str | None) -> Evicted | None:
        found = await self._postgres.write("evict", instance, why, actor)
        if not found:
            return None
        row = found[0]
        evicted_us, wait_us = row["evicted_at"], row["wait_term_ms"] * _US_PER_MS
        return Evicted(
            row["service"],
            evicted_us,
            row["evicted_why"],
            evicted_us + wait_us if row["may_be_leased"] else evicted_us,
        )
