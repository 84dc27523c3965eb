"""`rescind demo`: a revocation arrives at three services, measured."""

import asyncio
import contextlib
import sys
from collections.abc import Callable, Generator

import click

from rescind_cli import render, settings
from rescind_cli.failures import Exit
from rescind_cli.scenes import picture
from rescind_cli.scenes.demo import Outcome, play
from rescind_cli.target import json_option
from rescind_runtime import logs, supervise
from rescind_runtime.supervise import Stop


@click.command()
@json_option
def demo(*, as_json: bool) -> None:
    """Show a revocation arrive at three services, measured, in under a minute.

    Three services with a sidecar each, an agent that calls them with two tokens some hundred times
    a second, one revocation, and the timeline. All of it runs in a temporary directory and is gone
    afterwards. Exits 0 only if everything that it claims was measured.
    """
    outcome = _played()
    if as_json:
        render.as_json(picture.as_document(outcome))
    else:
        picture.show(outcome)
    if not outcome.ok:
        raise click.exceptions.Exit(Exit.REFUSED)


def _played() -> Outcome:
    """Play the demo to its end, or end this process as its failure or a signal asks."""
    outcomes: list[Outcome] = []

    async def main(stop: Stop) -> None:
        logs.configure("console:error")  # what the parts say in passing is no part of the show

        async def scene() -> None:
            with _progress() as say:
                outcomes.append(await play(settings.environment(), say=say))
            stop.ask()

        async with asyncio.TaskGroup() as group:
            playing = group.create_task(scene())
            await stop.wait()
            # Cancelled wherever it is, also half started: each block it is in stops its child.
            playing.cancel()

    code = supervise.exit_code(main, name="demo")
    if code or not outcomes:
        raise click.exceptions.Exit(code or supervise.EXIT_INTERRUPTED)
    return outcomes[0]


@contextlib.contextmanager
def _progress() -> Generator[Callable[[str], None]]:
    """Show on a terminal what is being done; say nothing when piped."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console  # noqa: PLC0415 - a pipe need not pay for it

    with Console(stderr=True).status("starting") as status:
        yield status.update
