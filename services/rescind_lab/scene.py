"""Run the demo and the bench to their end or a signal, in a folder that is deleted afterwards."""

import asyncio
import contextlib
import os
import tempfile
from collections.abc import Awaitable, Callable, Generator, Mapping
from pathlib import Path
from typing import TypeVar

import click

from rescind_lab.errors import SceneError
from rescind_runtime import logs, supervise
from rescind_runtime.supervise import Stop

T = TypeVar("T")

_MOST_PATH_BYTES = 75  # a socket's path has at most 107, and its name needs the rest


def outcomes_of(scene: Callable[[list[T]], Awaitable[None]], *, name: str) -> list[T]:
    """Run a scene, and return the outcomes that it appended before its end or a signal.

    End this process with the exit status of a failure, or of a signal before the first outcome.
    """
    outcomes: list[T] = []
    stopped: list[Stop] = []

    async def main(stop: Stop) -> None:
        stopped.append(stop)
        logs.configure("console:error")  # the logs of the parts are not part of the scene

        async def play() -> None:
            await scene(outcomes)
            stop.request()

        async with asyncio.TaskGroup() as group:
            playing = group.create_task(play())
            await stop.wait()
            # Cancelled at any point, even half started: each open block stops its children.
            playing.cancel()

    code = supervise.exit_code(main, name=name)
    if code or not outcomes:
        raise click.exceptions.Exit(code or supervise.exit_of(stopped[0]))
    return outcomes


@contextlib.contextmanager
def folder(name: str) -> Generator[Path]:
    """Make a temporary folder for the block.

    Raises SceneError if its path is too long for the sockets in it.
    """
    with tempfile.TemporaryDirectory(prefix=f"rescind-{name}-") as made:
        directory = Path(made)
        if len(os.fsencode(directory)) > _MOST_PATH_BYTES:
            raise SceneError(
                f"the temporary folder {tempfile.gettempdir()} is too deep for a socket: "
                "set TMPDIR to a shorter one"
            )
        yield directory


def without_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without the settings of the user's own system."""
    return {name: text for name, text in environ.items() if not name.startswith("RESCIND_")}
