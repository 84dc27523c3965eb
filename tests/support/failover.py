"""Two real Postgres servers, a primary and its synchronous standby, and an address that moves.

`fail_over` promotes the standby and moves the address. The old primary is not fenced: its sessions
live on, their reads are answered, and their commits wait for a standby that never confirms.
`rejoin` stops it, and makes it the standby of the new primary.

python -m tests.support.failover DIR runs until it is killed.
"""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import asyncpg
from tests.support.eventually import eventually

from rescind_runtime import ready_line
from rescind_runtime.local_system import home, postgres
from rescind_runtime.processes import child_process
from rescind_runtime.processes.child_process import Child

_DEADLINE_S = 60.0
_STANDBY = "standby"


@dataclass(frozen=True)
class Pair:
    """An old and a new server: the sockets of each, and the folder that clients use."""

    old: Path
    new: Path
    address: Path

    @property
    def dsn(self) -> str:
        """The address at which clients find the current primary."""
        return _dsn(self.address)

    @property
    def old_dsn(self) -> str:
        """The address of the old primary, before and after it was replaced."""
        return _dsn(self.old)

    @property
    def new_dsn(self) -> str:
        """The address of the standby, which becomes the primary."""
        return _dsn(self.new)

    async def cut_off(self) -> None:
        """Stop replication. The primary's reads go on, and its commits hang from now on."""
        await execute(self.new_dsn, "ALTER SYSTEM SET primary_conninfo = ''")
        await execute(self.new_dsn, "SELECT pg_reload_conf()")
        await eventually(
            lambda: _replicates(self.old_dsn, "sync", "async"), until=lambda found: not found
        )

    async def fail_over(self) -> None:
        """Promote the standby, and move the address to it."""
        await execute(self.new_dsn, "SELECT pg_promote()")
        self.move_to(self.new)

    async def drop_connections(self) -> None:
        """End the sessions of authorities at the new primary."""
        await execute(
            self.new_dsn,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'rescind-authority'",
        )

    def move_to(self, sockets: Path) -> None:
        """Route new connections to another server."""
        moved = self.address.with_name("moved")
        moved.symlink_to(sockets)
        moved.replace(self.address)


async def execute(dsn: str, sql: str) -> None:
    """Run one statement on a new connection."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


class Servers:
    """The two servers of a pair, in the process that runs them."""

    def __init__(self, old: "postgres._Place", new: "postgres._Place", address: Path) -> None:
        self._old = old
        self._new = new
        self._address = address
        self._blocks = {old: AsyncExitStack(), new: AsyncExitStack()}
        self._running: dict[postgres._Place, Child] = {}

    @property
    def pair(self) -> Pair:
        """The current addresses of the servers. `old` is the primary until the failover."""
        return Pair(self._old.sockets, self._new.sockets, self._address)

    async def start(self) -> None:
        """Start a new primary, then its standby."""
        await postgres._initialise(self._old)
        await self._run(self._old)
        self._address.symlink_to(self._old.sockets)
        await self._add_standby()

    async def restart_old(self) -> None:
        """Restart the old primary. From then on it shows the commits that hung."""
        await self._blocks[self._old].aclose()
        await self._run(self._old)

    async def rejoin(self) -> None:
        """Stop the old primary at once, and restart it as the standby of the new one."""
        # Without a checkpoint, but after its processes ended: none writes to the removed files.
        os.kill(self._running[self._old].pid, signal.SIGQUIT)
        await self._blocks[self._old].aclose()
        shutil.rmtree(self._old.cluster)
        self._old, self._new = self._new, self._old
        await self._add_standby()

    async def stop(self) -> None:
        """Stop both servers."""
        for place, block in self._blocks.items():
            await block.aclose()
            if place.sockets != place.home.sockets:
                shutil.rmtree(place.sockets, ignore_errors=True)

    async def _add_standby(self) -> None:
        """Start a copy of the primary, and make the primary's commits wait for it."""
        primary, standby = _dsn(self._old.sockets), _dsn(self._new.sockets)
        await _copy(self._new, source=self._old.sockets)
        await self._run(self._new)
        await execute(primary, f"ALTER SYSTEM SET synchronous_standby_names = '{_STANDBY}'")
        await execute(primary, "SELECT pg_reload_conf()")
        await eventually(lambda: _replicates(primary, "sync"))
        # Commits wait once the checkpointer has read the setting, as it does before a checkpoint.
        # A commit that has waited shows that the standby has all commits before it.
        await execute(primary, "CHECKPOINT")
        await execute(primary, "SELECT pg_current_xact_id()")
        # Once promoted, the new primary has no standby of its own to wait for.
        await execute(standby, "ALTER SYSTEM RESET synchronous_standby_names")
        await execute(standby, "SELECT pg_reload_conf()")

    async def _run(self, place: "postgres._Place") -> None:
        postgres._remove_stale_pid_file(place.cluster)
        server = place.program(
            "postgres",
            *("-D", str(place.cluster), "-k", str(place.sockets)),
            *postgres._options(listen_addresses="", shared_buffers="32MB"),
            *postgres._options(dynamic_shared_memory_type="mmap", jit="off"),
        )
        child = await self._blocks[place].enter_async_context(child_process.running(server))
        await child.until(lambda: _answers(place.cluster) or None, deadline_s=_DEADLINE_S)
        self._running[place] = child


@asynccontextmanager
async def running(directory: Path) -> AsyncIterator[Servers]:
    """Run both servers for the block; the primary's commits wait for the standby."""
    longest = postgres.MAX_SOCKET_PATH
    async with (
        home.locked(directory / "p", longest_socket=longest) as first,
        home.locked(directory / "s", longest_socket=longest) as second,
    ):
        servers = Servers(_place(first), _place(second), directory / "a")
        try:
            await servers.start()
            yield servers
        finally:
            await servers.stop()


def _place(of: home.Home) -> "postgres._Place":
    found = postgres._binaries()
    assert found is not None
    return postgres._choose_place(of, found)


def _dsn(sockets: Path) -> str:
    return f"postgresql://rescind@/postgres?host={quote(str(sockets))}"


async def _copy(place: "postgres._Place", *, source: Path) -> None:
    """Create the data of a standby from the data of a running server."""
    conninfo = f"host={source} user=rescind application_name={_STANDBY}"
    copy = place.program(
        "pg_basebackup",
        *("-d", conninfo, "-D", str(place.cluster), "-c", "fast", "-R", "--no-sync"),
    )
    async with child_process.running(copy) as child:
        async with asyncio.timeout(_DEADLINE_S):
            await child.wait_ended()
        assert child.succeeded, child.failure()


def _answers(cluster: Path) -> bool:
    """Return True once a server accepts connections, as a primary or as a hot standby."""
    try:
        lines = (cluster / "postmaster.pid").read_text(encoding="utf-8").split("\n")
    except OSError:
        return False
    return len(lines) > postgres._STATUS_LINE and lines[postgres._STATUS_LINE].strip() in (
        "ready",
        "standby",
    )


async def _replicates(dsn: str, *states: str) -> bool:
    """Return True if a standby of this server is in one of these states of replication."""
    connection = await asyncpg.connect(dsn)
    try:
        return bool(
            await connection.fetchval(
                "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE sync_state = ANY($1))",
                states,
            )
        )
    finally:
        await connection.close()


async def _serve(directory: Path) -> None:
    async with running(directory) as servers:
        pair = servers.pair
        ready_line.announce(
            pid=os.getpid(),
            old=str(pair.old),
            new=str(pair.new),
            address=str(pair.address),
        )
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
