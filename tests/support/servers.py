"""Servers for a test session: `python -m tests.support.servers DIR`, until killed."""

import asyncio
import os
import sys
from pathlib import Path

from rescind_runtime import ready_line
from rescind_runtime.local_system import home, nats, postgres, valkey


async def main(directory: Path) -> None:
    async with (
        home.locked(directory, longest_socket=postgres.LONGEST_SOCKET) as place,
        nats.running(place) as bus,
        valkey.running(place) as cache,
        postgres.running(place) as truth,
    ):
        ready_line.announce(pid=os.getpid(), postgres=truth.url, nats=bus.url, redis=cache.url)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
