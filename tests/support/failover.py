"""Two real Postgres servers, a primary and its synchronous standby, and an address that moves.

`fail_over` promotes the standby and moves the address. The old primary is not fenced: sessions that
it has live on, their reads are answered, and their commits wait for a standby that never confirms.

python -m tests.support.failover DIR, until killed.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import asyncpg
from tests.support.authority import eventually

from rescind_runtime import ready
from rescind_runtime.embedded import children, home, postgres

_DEADLINE_S = 60.0
_STANDBY = "standby"


@dataclass(frozen=True)
class Pair:
    """An old and a new server: sockets of each, and the folder that clients know."""

    old: Path
    new: Path
    address: Path

    @property
    def dsn(self) -> str:
        """Where clients find whichever server is the primary."""
        return _dsn(self.address)

    @property
    def old_dsn(self) -> str:
        """Where the old primary is, before and after it was replaced."""
        return _dsn(self.old)

    @property
    def new_dsn(self) -> str:
        """Where the standby is, which becomes the primary."""
        return _dsn(self.new)

    async def fail_over(self) -> None:
        """Promote the standby, and move the address to it."""
        await execute(self.new_dsn, "SELECT pg_promote()")
        self.move_to(self.new)

    def move_to(self, sockets: Path) -> None:
        """Have connections that are made from now on lead to another server."""
        moved = self.address.with_name("moved")
        moved.symlink_to(sockets)
        moved.replace(self.address)


async def execute(dsn: str, sql: str) -> None:
    """Run one statement on a connection of its own."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


@asynccontextmanager
async def pair(directory: Path) -> AsyncIterator[Pair]:
    """Run both servers for the block; the primary's commits wait for the standby."""
    longest = postgres.LONGEST_SOCKET
    async with (
        home.locked(directory / "p", longest_socket=longest) as first,
        home.locked(directory / "s", longest_socket=longest) as second,
        postgres.running(first) as primary,
    ):
        old = _place(first)
        await execute(primary.url, f"ALTER SYSTEM SET synchronous_standby_names = '{_STANDBY}'")
        async with _standby(second, copied_from=old.sockets) as new:
            address = directory / "a"
            address.symlink_to(old.sockets)
            await execute(primary.url, "SELECT pg_reload_conf()")
            await eventually(lambda: _confirms(primary.url))
            # Once promoted, the new primary has no standby of its own to wait for.
            await execute(_dsn(new.sockets), "ALTER SYSTEM RESET synchronous_standby_names")
            await execute(_dsn(new.sockets), "SELECT pg_reload_conf()")
            yield Pair(old.sockets, new.sockets, address)


def _place(of: home.Home) -> "postgres._Place":
    found = postgres._binaries()
    assert found is not None
    return postgres._settle(of, found)


def _dsn(sockets: Path) -> str:
    return f"postgresql://rescind@/postgres?host={quote(str(sockets))}"


@asynccontextmanager
async def _standby(of: home.Home, *, copied_from: Path) -> AsyncIterator["postgres._Place"]:
    place = _place(of)
    conninfo = f"host={copied_from} user=rescind application_name={_STANDBY}"
    copy = place.program(
        "pg_basebackup",
        *("-d", conninfo, "-D", str(place.cluster), "-c", "fast", "-R", "--no-sync"),
    )
    async with children.running(copy) as child:
        async with asyncio.timeout(_DEADLINE_S):
            await child.gone()
        assert child.succeeded, child.failure()
    server = place.program(
        "postgres",
        *("-D", str(place.cluster), "-k", str(place.sockets)),
        *postgres._options(listen_addresses="", shared_buffers="32MB"),
        *postgres._options(dynamic_shared_memory_type="mmap", jit="off"),
    )
    async with children.running(server) as child:
        await child.until(lambda: _answers(place.cluster) or None, deadline_s=_DEADLINE_S)
        yield place


def _answers(cluster: Path) -> bool:
    """Return True once a hot standby takes connections."""
    try:
        lines = (cluster / "postmaster.pid").read_text(encoding="utf-8").split("\n")
    except OSError:
        return False
    return len(lines) > postgres._STATUS_LINE and lines[postgres._STATUS_LINE].strip() in (
        "ready",
        "standby",
    )


async def _confirms(dsn: str) -> bool:
    connection = await asyncpg.connect(dsn)
    try:
        return bool(
            await connection.fetchval(
                "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE sync_state = 'sync')"
            )
        )
    finally:
        await connection.close()


async def _serve(directory: Path) -> None:
    async with pair(directory) as servers:
        ready.announce(
            pid=os.getpid(),
            old=str(servers.old),
            new=str(servers.new),
            address=str(servers.address),
        )
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
