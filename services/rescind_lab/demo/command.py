"""`rescind demo`: measure how a revocation arrives at three services, one of them cut off."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Protocol, TypeVar

import click

from rescind_cli import settings
from rescind_cli.options.authority_options import json_option
from rescind_cli.output import terminal
from rescind_cli.output.exit_codes import Exit
from rescind_lab import scene as lab
from rescind_lab.demo import chart, single_revocation
from rescind_lab.demo import svg as timeline_svg
from rescind_lab.demo.agents import chart as agents_chart
from rescind_lab.demo.agents import scenario as agents_scenario
from rescind_lab.demo.partition import chart as partition_chart
from rescind_lab.demo.partition import scenario as partition_scenario


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
            agents = _outcome_of(agents_scenario.play)
            _print_and_exit(agents, agents_chart.as_document, agents_chart.show, as_json=as_json)
        case "partition":
            partition = _outcome_of(partition_scenario.play)
            _print_and_exit(
                partition, partition_chart.as_document, partition_chart.show, as_json=as_json
            )
        case _:
            outcome = _outcome_of(single_revocation.play)
            if svg is not None:
                svg.write_text(timeline_svg.draw(outcome), encoding="utf-8")
            _print_and_exit(outcome, chart.as_document, chart.show, as_json=as_json)


class _Outcome(Protocol):
    @property
    def ok(self) -> bool: ...


T = TypeVar("T", bound=_Outcome)


def _print_and_exit(
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


def _outcome_of(play: Callable[..., Awaitable[T]]) -> T:
    """Return the outcome of a scene, or exit with the status of a failure or a signal."""

    async def scene(outcomes: list[T]) -> None:
        with terminal.status() as show_step:
            outcomes.append(await play(settings.environment(), show_step=show_step))

    return lab.outcomes_of(scene, name="demo")[0]
