"""Postgres and Valkey with passwords: `python -m tests.support.guarded_servers DIR`, until killed.

The embedded servers admit every process that may read their socket's folder. The URLs of these
servers carry passwords, as in production, so that tests can see where the passwords go.
"""

import asyncio
import os
import secrets
import sys
from pathlib import Path

from redis.asyncio import Redis

from rescind_runtime import ready_line
from rescind_runtime.local_system import home, postgres, valkey


async def main(directory: Path) -> None:
    async with (
        home.locked(directory, longest_socket=postgres.MAX_SOCKET_PATH) as place,
        postgres.running(place) as truth,
        valkey.running(place) as cache,
    ):
        password = secrets.token_hex(24)
        async with Redis.from_url(cache.url) as client:
            await client.config_set("requirepass", password)
        ready_line.announce(
            pid=os.getpid(),
            postgres=truth.url.replace("@", f":{secrets.token_hex(24)}@"),
            redis=cache.url.replace("unix://", f"unix://:{password}@"),
        )
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
