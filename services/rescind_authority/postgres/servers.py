"""Identification of Postgres servers: after a failover, the old and the new primary may answer.

A promotion begins a new timeline, so of two servers of one system the one with the higher timeline
is the primary. The number comes from the name of the current WAL file: the number in
`pg_control_checkpoint()` is that of the last checkpoint, which a promoted server makes later.

This module does not decide whether a lease is granted or a wait is over. Both are safe with an old
primary too: no standby confirms its commits, and its data lacks the event. This module keeps an
authority from using an old primary at all.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg
import structlog

from rescind_authority.errors import OldPrimaryError
from rescind_authority.postgres import queries
from rescind_runtime.clock import monotonic_raw_ns
from rescind_runtime.log_throttle import LogThrottle

_HIDDEN_S = 3_600.0

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


if TYPE_CHECKING:
    _Connection = asyncpg.Connection[asyncpg.Record]
else:  # the driver's class takes no parameter
    _Connection = asyncpg.Connection


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """The system and the timeline of a server; None on a standby, or if hidden."""

    system: int | None
    timeline: int | None
    hidden: bool = False


class IdentifiedConnection(_Connection):
    """A connection with the identity of its server."""

    server = PostgresServer(None, None)

    async def identify(self) -> PostgresServer:
        """Read which server this connection leads to.

        Every role may call the functions that it uses, on Postgres 15 to 18. If an operator
        removed that right, or a service does not offer them, the server is used anyway.
        """
        try:
            system = await self.fetchval(queries.read("server_system"))
            timeline = await self.fetchval(queries.read("server_timeline"))
        except (asyncpg.InsufficientPrivilegeError, asyncpg.FeatureNotSupportedError):
            self.server = PostgresServer(None, None, hidden=True)
        else:
            self.server = PostgresServer(system, timeline)
        return self.server


class Servers:
    """The newest timeline of each system, for the life of this process.

    Timelines of different systems are not compared, because each system numbers its own. Another
    system is the target of a restored dump or of an upgrade; the ledger's epoch separates its data
    from the earlier ledger. Connections to the earlier system are dropped all the same.
    """

    def __init__(self) -> None:
        self._newest: dict[int | None, int] = {}
        self._latest: PostgresServer | None = None
        self._refused = LogThrottle()
        self._hidden = LogThrottle(_HIDDEN_S)

    def admit(self, server: PostgresServer) -> bool:
        """Return True if earlier connections lead to another primary and must be dropped.

        Raises OldPrimaryError if this server is the old primary.
        """
        if server.hidden and self._hidden.due(monotonic_raw_ns()) is not None:
            _log.warning(
                "Postgres does not say which server it is, so an old primary is not recognised. "
                "Grant the authority's role EXECUTE on pg_control_system(), pg_current_wal_lsn() "
                "and pg_walfile_name(pg_lsn)",
                action="postgres.unidentified",
            )
        if server.timeline is None:
            return False
        self.require(server)
        self._newest[server.system] = server.timeline
        before, self._latest = self._latest, server
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

    def require(self, server: PostgresServer) -> None:
        """Raise OldPrimaryError if a newer timeline of the same system was seen."""
        newest = self._newest.get(server.system, 0)
        if server.timeline is None or server.timeline >= newest:
            return
        withheld = self._refused.due(monotonic_raw_ns())
        if withheld is not None:
            _log.error(
                "an old primary answers where Postgres is expected, and is not used: stop it",
                action="postgres.old_primary",
                timeline=server.timeline,
                newest=newest,
                withheld=withheld,
            )
        raise OldPrimaryError(server.timeline, newest)
