# matplotlib leaves types open:
# pyright: reportUnknownMemberType=false
"""Draw the ratios as a chart: one bar for each line, with a mark at its target."""

from collections.abc import Sequence
from pathlib import Path

from rescind.client.problems import MissingExtraError
from rescind_lab.bench.comparison import LineResult, Statistic
from rescind_lab.bench.report import format_figure

_INCHES_A_BAR = 0.32
_MET, _MISSED, _NO_TARGET = "#2a9d5c", "#c8443a", "#7a869a"


def draw(results: Sequence[LineResult], path: Path) -> None:
    """Write a PNG. Raises MissingExtraError if matplotlib is not installed."""
    try:
        # Imported here: the import takes half a second, and only a chart needs it.
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ModuleNotFoundError as missing:
        raise MissingExtraError("bench", "--plot draws with matplotlib, which") from missing
    bars = [(each, ratio) for each in results if (ratio := each.measurement.ratio) is not None]
    picture = Figure(figsize=(11, 1.6 + _INCHES_A_BAR * len(bars)), layout="constrained")
    axes = picture.add_subplot()
    names = [f"{each.line.label}\nvs {each.line.against}" for each, _ in bars]
    positions = range(len(bars))
    axes.barh(
        positions, [ratio for _, ratio in bars], color=[_choose_colour(each) for each, _ in bars]
    )
    for position, (each, ratio) in enumerate(bars):
        axes.text(ratio, position, f" {format_figure(ratio)}", va="center", fontsize=7)
        for target in each.line.targets:
            if target.statistic is Statistic.RATIO:
                axes.plot([target.bound] * 2, [position - 0.4, position + 0.4], color="black")
    axes.set_xscale("log")
    axes.axvline(1, color="black", linewidth=0.5)
    axes.set_yticks(positions, names, fontsize=6)
    axes.invert_yaxis()
    axes.set_xlabel("times better than the alternative, in the same run (black: the target)")
    FigureCanvasAgg(picture).print_figure(str(path))


def _choose_colour(result: LineResult) -> str:
    return _NO_TARGET if result.ok is None else _MET if result.ok else _MISSED
