"""Servers for a test session: `python -m tests.support.servers DIR`, until killed."""

import asyncio
import os
import sys
from pathlib import Path

import asyncpg

from rescind_runtime import ready_line
from rescind_runtime.local_system import home, nats, postgres, valkey

_SETTINGS = (
    "fsync = off",  # these data end with the session: `faults/` kills servers of its own
    "autovacuum_naptime = '1h'",  # else each of hundreds of databases gets a worker each minute
)


async def main(directory: Path) -> None:
    async with (
        home.locked(directory, longest_socket=postgres.MAX_SOCKET_PATH) as place,
        nats.running(place) as bus,
        valkey.running(place) as cache,
        postgres.running(place) as truth,
    ):
        await _configure(truth.url)
        ready_line.announce(pid=os.getpid(), postgres=truth.url, nats=bus.url, redis=cache.url)
        await asyncio.Event().wait()


async def _configure(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        for setting in _SETTINGS:
            await connection.execute(f"ALTER SYSTEM SET {setting}")
        await connection.execute("SELECT pg_reload_conf()")
    finally:
        await connection.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
