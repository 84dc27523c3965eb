"""Show the results as a document or as a table."""

import os
import platform
from collections.abc import Sequence

from rescind_cli.output import terminal
from rescind_lab.bench.comparison import LineResult, Statistic, Target
from rescind_lab.bench.samples import Samples, Unit

_COLUMNS = ("ratio", "target", "met", "what", "ours", "theirs", "against")
_WORDS = {
    Statistic.RATIO: "ratio",
    Statistic.BEST: "best",
    Statistic.P50: "p50",
    Statistic.P99: "p99",
}
_LARGE, _SMALL = 100, 10


def as_document(results: Sequence[LineResult], *, quick: bool, seconds: float) -> dict[str, object]:
    """Return every figure, under stable keys."""
    return {
        "quick": quick,
        "seconds": round(seconds, 1),
        "machine": {
            "cores": os.cpu_count(),
            "load": os.getloadavg()[0],
            "python": platform.python_version(),
            "system": platform.platform(),
        },
        "lines": {each.line.key: _build_line(each) for each in results},
    }


def _build_line(result: LineResult) -> dict[str, object]:
    line, measurement = result.line, result.measurement
    return {
        "says": line.label,
        "against": line.against,
        "ratio": measurement.ratio,
        "met": result.ok,
        "targets": [
            {
                "of": target.statistic,
                "bound": target.bound,
                "at_least": target.at_least,
                "number": measurement.value_of(target.statistic),
                "met": met,
            }
            for target, met in result.met.items()
        ],
        "ours": _build_samples(measurement.ours),
        "theirs": None if measurement.theirs is None else _build_samples(measurement.theirs),
        "notes": measurement.notes,
    }


def _build_samples(samples: Samples) -> dict[str, object]:
    return {
        "unit": samples.unit,
        "best": samples.best,
        "median": samples.median,
        "p99": samples.quantile(0.99),
        "rounds": len(samples.figures),
        "figures": samples.figures,
    }


def print_table(results: Sequence[LineResult]) -> None:
    """Print the table on stdout, and how many targets were met."""
    terminal.table(_COLUMNS, [_build_row(each) for each in results], empty="nothing was measured")
    with_target = [each for each in results if each.ok is not None]
    met = sum(bool(each.ok) for each in with_target)
    terminal.line(f"{met} of {len(with_target)}", "lines with a target met the target")
    for each in results:
        if each.ok is False:
            terminal.line("missed", f"{each.line.key}: {each.line.label}. {each.measurement.notes}")


def _build_row(result: LineResult) -> tuple[str, ...]:
    line, measurement = result.line, result.measurement
    tail = any(target.statistic in {Statistic.P50, Statistic.P99} for target in line.targets)
    met = {True: "yes", False: "NO", None: ""}[result.ok]
    return (
        "" if measurement.ratio is None else f"{format_figure(measurement.ratio)} ×",  # noqa: RUF001 - times
        ", ".join(format_target(target, measurement.ours.unit) for target in line.targets),
        met,
        line.label,
        _format_samples(measurement.ours, tail=tail or measurement.ours.unit is Unit.MS),
        "" if measurement.theirs is None else _format_samples(measurement.theirs, tail=False),
        line.against or "",
    )


def format_target(target: Target, unit: Unit) -> str:
    """Return a target as a short text."""
    sign = "≥" if target.at_least else "≤"
    if target.statistic is Statistic.RATIO:
        return f"{sign} {format_figure(target.bound)} ×"  # noqa: RUF001 - times
    return f"{_WORDS[target.statistic]} {sign} {format_figure(target.bound)} {unit}"


def format_figure(number: float) -> str:
    """Return a figure as text, with its significant digits."""
    if abs(number) >= _LARGE:
        return f"{number:,.0f}"
    return f"{number:.1f}" if abs(number) >= _SMALL else f"{number:.2f}"


def _format_samples(samples: Samples, *, tail: bool) -> str:
    if tail:
        p50, p99 = samples.quantile(0.5), samples.quantile(0.99)
        return f"p50 {format_figure(p50)}, p99 {format_figure(p99)} {samples.unit}"
    return f"{format_figure(samples.best)} {samples.unit}"
