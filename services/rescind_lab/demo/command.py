"""`rescind demo`: measure how a revocation arrives at three services, also at one cut off."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Protocol, TypeVar

import click

from rescind_cli import settings
from rescind_cli.options.authority_options import json_option
from rescind_cli.output import terminal
from rescind_cli.output.exit_codes import Exit
from rescind_lab import scene as lab
from rescind_lab.demo import chart
from rescind_lab.demo import single_revocation as demo_scene
from rescind_lab.demo import svg as picture
from rescind_lab.demo.agents import chart as agents_picture
from rescind_lab.demo.agents import scenario as agents_story
from rescind_lab.demo.partition import chart as partition_picture
from rescind_lab.demo.partition import scenario


@click.command()
@click.argument("scene", type=click.Choice(["agents", "partition"]), required=False)
@click.option(
    "--svg",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    metavar="FILE",
    help="Draw the timeline into this SVG; without a scene.",
)
@json_option
def demo(*, scene: str | None, svg: Path | None, as_json: bool) -> None:
    """Show a revocation arrive at three services, measured, in under a minute.

    The scene has three services with a sidecar each, an agent that calls them with two tokens some
    hundred times a second, one revocation, and the timeline. With `partition`, one of the sidecars
    is first cut off from everything else, and the revocation waits for its receipt. With `agents`,
    one of six agents goes rogue, with the agents below it, and is narrowed and then killed.
    Everything runs in a temporary directory, which is deleted afterwards. Exits 0 only if the
    measurement confirms every claim.
    """
    if svg is not None and scene is not None:
        raise click.UsageError(f"--svg draws the demo without a scene: leave out {scene!r}")
    match scene:
        case "agents":
            hit = _played(agents_story.play)
            _told(hit, agents_picture.as_document, agents_picture.show, as_json=as_json)
        case "partition":
            cut = _played(scenario.play)
            _told(cut, partition_picture.as_document, partition_picture.show, as_json=as_json)
        case _:
            outcome = _played(demo_scene.play)
            if svg is not None:
                svg.write_text(picture.draw(outcome), encoding="utf-8")
            _told(outcome, chart.as_document, chart.show, as_json=as_json)


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
    """Print an outcome, and exit with 1 unless the measurement confirms every claim."""
    if as_json:
        terminal.as_json(as_document(outcome))
    else:
        show(outcome)
    if not outcome.ok:
        raise click.exceptions.Exit(Exit.REFUSED)


def _played(play: Callable[..., Awaitable[T]]) -> T:
    """Return the outcome of a scene, or exit with the status of a failure or a signal."""

    async def scene(outcomes: list[T]) -> None:
        with terminal.status() as say:
            outcomes.append(await play(settings.environment(), say=say))

    return lab.outcomes_of(scene, name="demo")[0]
