"""Run the demo and the bench to their end or a signal, in a folder that is deleted afterwards."""

import asyncio
import contextlib
import os
import tempfile
from collections.abc import Awaitable, Callable, Generator, Mapping
from pathlib import Path
from typing import TypeVar

import click

from rescind_lab.errors import LabError
from rescind_runtime import logs, supervise
from rescind_runtime.supervise import Stop

T = TypeVar("T")

_MAX_PATH_BYTES = 75  # a socket's path has at most 107 bytes; its name needs the others


def collect_outcomes(scenario: Callable[[list[T]], Awaitable[None]], *, name: str) -> list[T]:
    """Run a scenario, and return the outcomes that it appended before its end or a signal.

    End this process with the exit status of a failure, or of a signal before the first outcome.
    """
    outcomes: list[T] = []
    stopped: list[Stop] = []

    async def main(stop: Stop) -> None:
        stopped.append(stop)
        logs.configure("console:error")  # the logs of the services are not part of the output

        async def run() -> None:
            await scenario(outcomes)
            stop.request()

        async with asyncio.TaskGroup() as group:
            task = group.create_task(run())
            await stop.wait()
            # The task may still be starting processes: each open block stops its own.
            task.cancel()

    code = supervise.exit_code(main, name=name)
    if code or not outcomes:
        raise click.exceptions.Exit(code or supervise.exit_of(stopped[0]))
    return outcomes


@contextlib.contextmanager
def temporary_folder(name: str) -> Generator[Path]:
    """Create a temporary folder for the block.

    Raises LabError if its path is too long for a unix socket in it.
    """
    with tempfile.TemporaryDirectory(prefix=f"rescind-{name}-") as path:
        directory = Path(path)
        if len(os.fsencode(directory)) > _MAX_PATH_BYTES:
            raise LabError(
                f"the temporary folder {tempfile.gettempdir()} has too long a path for a socket: "
                "set TMPDIR to a shorter path"
            )
        yield directory


def remove_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without the variables that configure rescind."""
    return {name: text for name, text in environ.items() if not name.startswith("RESCIND_")}
