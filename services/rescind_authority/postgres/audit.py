"""Audit entries of calls that changed nothing."""

from collections.abc import Collection
from dataclasses import asdict

from rescind_authority.ports.audit import RefusedCall
from rescind_authority.postgres.pool import Postgres


class PostgresAudit:
    """Write to the audit (port Audit)."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def refused(self, refusals: Collection[RefusedCall]) -> None:
        await self._postgres.write("audit_refusals", [asdict(each) for each in refusals])
