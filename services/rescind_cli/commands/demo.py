"""`rescind demo`: a revocation arrives at three services, also when one is cut off; measured."""

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable, Generator, Mapping
from typing import Protocol, TypeVar

import click

from rescind_cli import render, settings
from rescind_cli.failures import Exit
from rescind_cli.scenes import demo as demo_scene
from rescind_cli.scenes import picture
from rescind_cli.scenes.agents import picture as agents_picture
from rescind_cli.scenes.agents import story as agents_story
from rescind_cli.scenes.partition import picture as partition_picture
from rescind_cli.scenes.partition import story
from rescind_cli.target import json_option
from rescind_runtime import logs, supervise
from rescind_runtime.supervise import Stop


@click.command()
@click.argument("scene", type=click.Choice(["agents", "partition"]), required=False)
@json_option
def demo(*, scene: str | None, as_json: bool) -> None:
    """Show a revocation arrive at three services, measured, in under a minute.

    Three services with a sidecar each, an agent that calls them with two tokens some hundred times
    a second, one revocation, and the timeline. With `partition` one of the sidecars is cut off
    from everything else before, and the revocation waits for its receipt; with `agents` one of six
    agents goes rogue, with what it delegated, and is narrowed and then killed. All of it runs in a
    temporary directory and is gone afterwards. Exits 0 only if all that it claims was measured.
    """
    match scene:
        case "agents":
            hit = _played(agents_story.play)
            _told(hit, agents_picture.as_document, agents_picture.show, as_json=as_json)
        case "partition":
            cut = _played(story.play)
            _told(cut, partition_picture.as_document, partition_picture.show, as_json=as_json)
        case _:
            outcome = _played(demo_scene.play)
            _told(outcome, picture.as_document, picture.show, as_json=as_json)


class _Outcome(Protocol):
    @property
    def ok(self) -> bool: ...


T = TypeVar("T", bound=_Outcome)


def _told(
    outcome: T,
    as_document: Callable[[T], Mapping[str, object]],
    show: Callable[[T], None],
    *,
    as_json: bool,
) -> None:
    """Print an outcome; exit with 1 when not every claim was measured true."""
    if as_json:
        render.as_json(as_document(outcome))
    else:
        show(outcome)
    if not outcome.ok:
        raise click.exceptions.Exit(Exit.REFUSED)


def _played(play: Callable[..., Awaitable[T]]) -> T:
    """Play a scene to its end, or end this process as its failure or a signal asks."""
    outcomes: list[T] = []

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
