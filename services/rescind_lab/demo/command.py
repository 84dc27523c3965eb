"""`rescind demo`: measure how a revocation arrives at three services."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Protocol, TypeVar

import click

from rescind_cli import settings
from rescind_cli.options.authority_options import json_option
from rescind_cli.output import terminal
from rescind_cli.output.exit_codes import Exit
from rescind_lab import runner
from rescind_lab.demo import chart, single_revocation
from rescind_lab.demo import svg as timeline_svg
from rescind_lab.demo.agents import chart as agents_chart
from rescind_lab.demo.agents import scenario as agents_scenario
from rescind_lab.demo.partition import chart as partition_chart
from rescind_lab.demo.partition import scenario as partition_scenario


@click.command()
@click.argument("scenario", type=click.Choice(["agents", "partition"]), required=False)
@click.option(
    "--svg",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    metavar="FILE",
    help="Draw the timeline into this SVG. Not with a scenario.",
)
@json_option
def demo(*, scenario: str | None, svg: Path | None, as_json: bool) -> None:
    """Measure how a revocation arrives at three services, in less than a minute.

    An agent calls three services, each with a sidecar, hundreds of times a second, with two tokens.
    One token is revoked, and the demo prints when each service denied it. With `partition`, one
    sidecar is first cut off from all servers, and the demo waits for the receipt. With `agents`,
    one of six agents goes rogue together with its descendants: it is narrowed, and then killed.
    Everything runs in a temporary directory, which is deleted afterwards. Exits 0 only if the
    measurement confirms every claim.
    """
    if svg is not None and scenario is not None:
        raise click.UsageError(
            f"--svg draws only the demo without a scenario: leave out {scenario!r}"
        )
    match scenario:
        case "agents":
            agents = _run(agents_scenario.run)
            _print_and_exit(agents, agents_chart.as_document, agents_chart.show, as_json=as_json)
        case "partition":
            partition = _run(partition_scenario.run)
            _print_and_exit(
                partition, partition_chart.as_document, partition_chart.show, as_json=as_json
            )
        case _:
            outcome = _run(single_revocation.run)
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


def _run(run_scenario: Callable[..., Awaitable[T]]) -> T:
    """Run a scenario, and return its outcome; exit with the status of a failure or a signal."""

    async def append_outcome(outcomes: list[T]) -> None:
        with terminal.status() as show_step:
            outcomes.append(await run_scenario(settings.environment(), show_step=show_step))

    return runner.collect_outcomes(append_outcome, name="demo")[0]
