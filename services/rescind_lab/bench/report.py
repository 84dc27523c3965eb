"""The outcome as a document and as a table: ratios first."""

import os
import platform
from collections.abc import Sequence

from rescind_cli.output import terminal
from rescind_lab.bench.comparison import Judged, Statistic, Target
from rescind_lab.bench.samples import Samples, Unit

_COLUMNS = ("ratio", "target", "met", "what", "ours", "theirs", "against")
_WORDS = {
    Statistic.RATIO: "ratio",
    Statistic.BEST: "best",
    Statistic.P50: "p50",
    Statistic.P99: "p99",
}
_LARGE, _SMALL = 100, 10


def as_document(judged: Sequence[Judged], *, quick: bool, seconds: float) -> dict[str, object]:
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
        "lines": {each.line.key: _line(each) for each in judged},
    }


def _line(judged: Judged) -> dict[str, object]:
    line, measured = judged.line, judged.measured
    return {
        "says": line.label,
        "against": line.against,
        "ratio": measured.ratio,
        "met": judged.ok,
        "targets": [
            {
                "of": target.statistic,
                "bound": target.bound,
                "at_least": target.at_least,
                "number": measured.number(target.statistic),
                "met": met,
            }
            for target, met in judged.met.items()
        ],
        "ours": _samples(measured.ours),
        "theirs": None if measured.theirs is None else _samples(measured.theirs),
        "notes": measured.notes,
    }


def _samples(samples: Samples) -> dict[str, object]:
    return {
        "unit": samples.unit,
        "best": samples.best,
        "median": samples.median,
        "p99": samples.quantile(0.99),
        "rounds": len(samples.figures),
        "figures": samples.figures,
    }


def show(judged: Sequence[Judged]) -> None:
    """Print the table on stdout, and how many targets were met."""
    terminal.table(_COLUMNS, [_row(each) for each in judged], empty="nothing was measured")
    bound = [each for each in judged if each.ok is not None]
    met = sum(bool(each.ok) for each in bound)
    terminal.line(f"{met} of {len(bound)}", "lines with a target met it")
    for each in judged:
        if each.ok is False:
            terminal.line("missed", f"{each.line.key}: {each.line.label}. {each.measured.notes}")


def _row(judged: Judged) -> tuple[str, ...]:
    line, measured = judged.line, judged.measured
    tail = any(target.statistic in {Statistic.P50, Statistic.P99} for target in line.targets)
    met = {True: "yes", False: "NO", None: ""}[judged.ok]
    return (
        "" if measured.ratio is None else f"{figure(measured.ratio)} ×",  # noqa: RUF001 - times
        ", ".join(target_text(target, measured.ours.unit) for target in line.targets),
        met,
        line.label,
        _figures(measured.ours, tail=tail or measured.ours.unit is Unit.MS),
        "" if measured.theirs is None else _figures(measured.theirs, tail=False),
        line.against or "",
    )


def target_text(target: Target, unit: Unit) -> str:
    """Return a target as a short text."""
    sign = "≥" if target.at_least else "≤"
    if target.statistic is Statistic.RATIO:
        return f"{sign} {figure(target.bound)} ×"  # noqa: RUF001 - times
    return f"{_WORDS[target.statistic]} {sign} {figure(target.bound)} {unit}"


def figure(number: float) -> str:
    """Return a figure as text, with its significant digits."""
    if abs(number) >= _LARGE:
        return f"{number:,.0f}"
    return f"{number:.1f}" if abs(number) >= _SMALL else f"{number:.2f}"


def _figures(samples: Samples, *, tail: bool) -> str:
    if tail:
        p50, p99 = samples.quantile(0.5), samples.quantile(0.99)
        return f"p50 {figure(p50)}, p99 {figure(p99)} {samples.unit}"
    return f"{figure(samples.best)} {samples.unit}"
