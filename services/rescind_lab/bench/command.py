"""`rescind bench`: the measurements of the design, as ratios, in one run."""

import contextlib
import sys
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import click

from rescind.client.problems import MissingExtraError
from rescind_cli import settings
from rescind_cli.options.authority_options import json_option
from rescind_cli.output import terminal

try:
    from rescind_lab import scene
    from rescind_lab.bench import plot as ratio_plot
    from rescind_lab.bench import report, table
    from rescind_lab.bench.comparison import Judged, Row
    from rescind_lab.bench.environment import SERVICES, running
    from rescind_runtime import clock
except ModuleNotFoundError as missing:
    raise MissingExtraError("all,bench", f"the bench ({missing.name} is not here)") from missing

_NAMES = [row.name for row in table.ROWS]
ShowStep = Callable[[str], None]


@click.command()
@click.argument("names", metavar="[ROW]...", nargs=-1, type=click.Choice(_NAMES))
@click.option("--quick", is_flag=True, help="A few rounds of each: a try, no measurement.")
@click.option(
    "--plot",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Draw the ratios into this PNG.",
)
@json_option
def bench(*, names: Sequence[str], quick: bool, plot: Path | None, as_json: bool) -> None:
    """Measure rescind against its real alternatives, in the same run on this machine.

    The two sides of a row take turns, so that other work on this machine affects both, and the
    ratio of their best rounds decides. Rows: check, events, sight, http, enforced, fleet, apply,
    commit, leases, memory, hot; all by default, in some ten minutes. Everything runs in a temporary
    directory (TMPDIR; row `hot` fills 6 GB of it unless --quick), which is deleted afterwards.
    """
    began_ns = clock.monotonic_raw_ns()
    judged = _measured(table.named(names), quick=quick)
    seconds = (clock.monotonic_raw_ns() - began_ns) / 1e9
    if as_json:
        terminal.as_json(report.as_document(judged, quick=quick, seconds=seconds))
    else:
        report.show(judged)
    if plot is not None:
        ratio_plot.draw(judged, plot)


def _measured(rows: Sequence[Row], *, quick: bool) -> list[Judged]:
    """Return the measured lines, or exit with the status of a failure or a signal."""

    async def measure(judged: list[Judged]) -> None:
        with _progress(len(rows)) as (show_step, done):
            async with running(
                settings.environment(),
                quick=quick,
                sidecars=len(SERVICES) if table.needs_three(rows) else 1,
                show_step=show_step,
            ) as stage:
                async for _, lines in table.measure(rows, stage):
                    judged.extend(lines)
                    done()

    return scene.outcomes_of(measure, name="bench")


@contextlib.contextmanager
def _progress(count: int) -> Generator[tuple[ShowStep, Callable[[], None]]]:
    """Show a progress bar with the current step on a terminal, and nothing in a pipe."""
    if not sys.stderr.isatty():
        yield lambda _: None, lambda: None
        return
    from rich.console import Console  # noqa: PLC0415 - a pipe need not pay for it
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (BarColumn(), TextColumn("{task.completed}/{task.total}"), TimeElapsedColumn())
    shown = Progress(*columns, TextColumn("{task.description}"), console=Console(stderr=True))
    with shown:
        task = shown.add_task("starting", total=count)
        yield (
            lambda text: shown.update(task, description=text),
            lambda: shown.advance(task),
        )
