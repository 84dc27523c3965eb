"""`rescind bench`: measure the figures of the design in one run, as ratios."""

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
    from rescind_lab import runner
    from rescind_lab.bench import plot as ratio_plot
    from rescind_lab.bench import report, table
    from rescind_lab.bench.comparison import LineResult, Row
    from rescind_lab.bench.system import SERVICES, run_system
    from rescind_runtime import clock
except ModuleNotFoundError as missing:
    raise MissingExtraError(
        "all,bench", f"the bench ({missing.name} is not installed)"
    ) from missing

_NAMES = [row.name for row in table.ROWS]
ShowStep = Callable[[str], None]


@click.command()
@click.argument("names", metavar="[ROW]...", nargs=-1, type=click.Choice(_NAMES))
@click.option(
    "--quick", is_flag=True, help="Measure only a few rounds. The figures are not reliable."
)
@click.option(
    "--plot",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Draw the ratios into this PNG.",
)
@json_option
def bench(*, names: Sequence[str], quick: bool, plot: Path | None, as_json: bool) -> None:
    """Measure rescind against its real alternatives, in the same run on this machine.

    The two sides of a row are measured in turns, so that other processes on this machine affect
    both. The ratio compares their best rounds. Rows: check, events, sight, http, grpc, enforced,
    fleet, apply, commit, leases, memory, hot; the default is all, which takes about ten minutes.
    Everything runs in a temporary directory (TMPDIR), which is deleted afterwards. Row `hot` fills
    6 GB of it, except with --quick.
    """
    began_ns = clock.monotonic_raw_ns()
    results = _measure(table.select_rows(names), quick=quick)
    seconds = (clock.monotonic_raw_ns() - began_ns) / 1e9
    if as_json:
        terminal.as_json(report.as_document(results, quick=quick, seconds=seconds))
    else:
        report.print_table(results)
    if plot is not None:
        ratio_plot.draw(results, plot)


def _measure(rows: Sequence[Row], *, quick: bool) -> list[LineResult]:
    """Measure the rows, and return the results of their lines.

    Exit with the status of a failure or a signal.
    """

    async def append_results(results: list[LineResult]) -> None:
        with _show_progress(len(rows)) as (show_step, finish_row):
            async with run_system(
                settings.environment(),
                quick=quick,
                sidecars=len(SERVICES) if table.need_three_sidecars(rows) else 1,
                show_step=show_step,
            ) as bench_system:
                async for _, lines in table.measure_rows(rows, bench_system):
                    results.extend(lines)
                    finish_row()

    return runner.collect_outcomes(append_results, name="bench")


@contextlib.contextmanager
def _show_progress(count: int) -> Generator[tuple[ShowStep, Callable[[], None]]]:
    """Show a progress bar with the current step on a terminal, and nothing in a pipe."""
    if not sys.stderr.isatty():
        yield lambda _: None, lambda: None
        return
    from rich.console import Console  # noqa: PLC0415 - a pipe need not pay for it
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (BarColumn(), TextColumn("{task.completed}/{task.total}"), TimeElapsedColumn())
    progress = Progress(*columns, TextColumn("{task.description}"), console=Console(stderr=True))
    with progress:
        task = progress.add_task("starting", total=count)
        yield (
            lambda text: progress.update(task, description=text),
            lambda: progress.advance(task),
        )
