"""`rescind up`: the whole system on this machine, until Ctrl-C."""

import asyncio
import contextlib
import json
import sys
from dataclasses import asdict
from pathlib import Path
from urllib.parse import urlsplit

import click

from rescind_cli.output import terminal
from rescind_runtime import data_dir, settings, supervise
from rescind_runtime.local_system import stack
from rescind_runtime.supervise import Stop


@click.command()
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="The data directory DIR. [default: RESCIND_DATA, or rescind in your data folder]",
)
@click.option(
    "--sidecars",
    type=click.IntRange(min=0, max=64),
    default=1,
    show_default=True,
    help="How many sidecars to start: service-1, service-2, …",
)
@click.option(
    "--port",
    type=click.IntRange(min=0, max=65535),
    default=stack.DEFAULT_PORT,
    show_default=True,
    help="The authority's port on loopback; 0: any free port.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON when ready.")
def up(*, data: Path | None, sidecars: int, port: int, as_json: bool) -> None:
    """Run the whole system on this machine: Postgres, NATS, Valkey, authority, sidecars.

    The servers that RESCIND_POSTGRES_DSN, RESCIND_NATS_URL or RESCIND_REDIS_URL name replace the
    embedded ones. Ctrl-C or SIGTERM stops the whole system; the next start uses the same data.
    DIR/env contains the settings, and the other commands read it.
    """
    environ = settings.environment()
    plan = stack.Plan(
        directory=(data or data_dir.locate(environ)).absolute(),
        services=[f"service-{number}" for number in range(1, sidecars + 1)],
        port=port,
        environ=environ,
    )

    async def main(stop: Stop) -> None:
        async with asyncio.TaskGroup() as group:
            system = group.create_task(_run(plan, as_json=as_json))
            await stop.wait()
            # Cancelled at any point, even half started: each open block stops its child.
            system.cancel()

    supervise.run(main, name="up")


async def _run(plan: stack.Plan, *, as_json: bool) -> None:
    with contextlib.ExitStack() as progress_line:
        show_step = progress_line.enter_context(terminal.status())
        async with stack.running(plan, progress=show_step) as system:
            progress_line.close()
            sys.stdout.write(_ready_line(system) if as_json else _summary(system))
            sys.stdout.flush()
            await system.watch()


def _ready_line(system: stack.System) -> str:
    """Return the ready line for programs, as JSON. Its URLs contain passwords."""
    facts = {
        "ready": True,
        "authority": system.authority,
        "admin_token_file": str(system.admin_token_file),
        "nats": system.nats,
        "redis": system.redis,
        "postgres": system.postgres,
        "sidecars": [asdict(sidecar) for sidecar in system.sidecars],
        "pids": dict(system.pids),
    }
    return json.dumps(facts, separators=(",", ":")) + "\n"


def _summary(system: stack.System) -> str:
    rows = [
        ("authority", system.authority),
        ("admin token", str(system.admin_token_file)),
        ("postgres", _without_password(system.postgres)),
        ("nats", _without_password(system.nats)),
        ("redis", _without_password(system.redis)),
        *((each.service, "  ".join(_places(each))) for each in system.sidecars),
        ("settings", str(system.directory / "env")),
    ]
    width = max(len(name) for name, _ in rows)
    lines = [f"  {name:<{width}}  {place}" for name, place in rows]
    return "\n".join([*lines, "ready: Ctrl-C stops all of it", ""])


def _places(sidecar: stack.LocalSidecar) -> list[str]:
    grpc = [] if sidecar.grpc is None else [f"grpc {sidecar.grpc}"]
    return [sidecar.socket, sidecar.http, *grpc]


def _without_password(url: str) -> str:
    password = urlsplit(url).password
    return url.replace(f":{password}@", ":…@") if password else url
