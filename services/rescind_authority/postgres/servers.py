"""Identification of Postgres servers: after a failover, the old and the new primary may answer.

A promotion begins a new timeline, so of two servers of one system the one with the higher timeline
is the primary. The number comes from the name of the current WAL file: the number in
`pg_control_checkpoint()` is that of the last checkpoint, which a promoted server makes later.

Leases and waits are also safe with an old primary. No standby confirms the old primary's commits,
so it grants no lease. It lacks the events that the new primary committed, so no wait for one of
them ends there. This module keeps an authority from using an old primary at all.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg
import structlog

from rescind_authority.errors import OldPrimaryError
from rescind_authority.postgres import queries
from rescind_runtime.clock import monotonic_raw_ns
from rescind_runtime.log_throttle import LogThrottle

_WARNING_INTERVAL_S = 3_600.0

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


if TYPE_CHECKING:
    _Connection = asyncpg.Connection[asyncpg.Record]
else:  # the driver's class takes no parameter
    _Connection = asyncpg.Connection


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """The system and the timeline of a server, if Postgres lets the authority read them.

    `timeline` is None on a standby. Both are None if the server is `unidentified`.
    """

    system: int | None
    timeline: int | None
    unidentified: bool = False


class IdentifiedConnection(_Connection):
    """A connection with the identity of its server."""

    server = PostgresServer(None, None)

    async def identify(self) -> PostgresServer:
        """Read which server this connection leads to.

        On Postgres 15 to 18, every role may call the functions that the two queries use. If an
        operator has removed that right, or a hosted Postgres lacks the functions, the server is
        `unidentified`, and is used anyway.
        """
        try:
            system = await self.fetchval(queries.read("server_system"))
            timeline = await self.fetchval(queries.read("server_timeline"))
        except (asyncpg.InsufficientPrivilegeError, asyncpg.FeatureNotSupportedError):
            self.server = PostgresServer(None, None, unidentified=True)
        else:
            self.server = PostgresServer(system, timeline)
        return self.server


class Servers:
    """The highest timeline that this process has seen of each system.

    Timelines of different systems are not compared, because each system numbers its own. A dump
    that is restored, or an upgrade, makes another system; its ledger has another epoch. Connections
    to the earlier system are dropped all the same.
    """

    def __init__(self) -> None:
        self._highest_timeline: dict[int | None, int] = {}
        self._current: PostgresServer | None = None
        self._old_primary_log = LogThrottle()
        self._unidentified_log = LogThrottle(_WARNING_INTERVAL_S)

    def primary_changed(self, server: PostgresServer) -> bool:
        """Store the server of a new connection, and return True if the primary is another one.

        The connections from before must then be dropped. Raises OldPrimaryError if this server is
        the old primary.
        """
        if server.unidentified and self._unidentified_log.due(monotonic_raw_ns()) is not None:
            _log.warning(
                "Postgres does not say which server it is, so an old primary is not recognised. "
                "Grant the authority's role EXECUTE on pg_control_system(), pg_current_wal_lsn() "
                "and pg_walfile_name(pg_lsn)",
                action="postgres.unidentified",
            )
        if server.timeline is None:
            return False
        self.reject_old_primary(server)
        self._highest_timeline[server.system] = server.timeline
        before, self._current = self._current, server
        if before is None or before == server:
            return False
        _log.warning(
            "another Postgres is the primary now: connections to the one before are dropped",
            action="postgres.moved",
            timeline=server.timeline,
            before=before.timeline,
            same_system=server.system == before.system,
        )
        return True

    def reject_old_primary(self, server: PostgresServer) -> None:
        """Raise OldPrimaryError if a higher timeline of the same system was seen."""
        newest = self._highest_timeline.get(server.system, 0)
        if server.timeline is None or server.timeline >= newest:
            return
        withheld = self._old_primary_log.due(monotonic_raw_ns())
        if withheld is not None:
            _log.error(
                "an old primary answers where Postgres is expected, and is not used: stop it",
                action="postgres.old_primary",
                timeline=server.timeline,
                newest=newest,
                withheld=withheld,
            )
        raise OldPrimaryError(server.timeline, newest)
