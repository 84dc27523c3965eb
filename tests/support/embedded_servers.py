"""A parent of embedded servers: `python -m tests.support.embedded_servers DIR`, until killed."""

import asyncio
import os
import sys
from pathlib import Path

from rescind_runtime import ready_line
from rescind_runtime.local_system import home, nats, postgres, valkey


async def main(directory: Path) -> None:
    async with (
        home.locked(directory, longest_socket=postgres.MAX_SOCKET_PATH) as place,
        nats.running(place) as bus,
        valkey.running(place) as cache,
        postgres.running(place) as truth,
    ):
        ready_line.announce(
            pid=os.getpid(),
            sockets=str(place.sockets),
            postgres=truth.url,
            children=[server.child.pid for server in (bus, cache, truth)],
        )
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
