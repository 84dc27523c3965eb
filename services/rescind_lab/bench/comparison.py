"""The rows and lines of the bench, and the comparison of a measurement with its targets."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from rescind_lab.bench.samples import Samples, compute_ratio
from rescind_lab.bench.system import BenchSystem


class Statistic(StrEnum):
    """The figure of a measurement to which a target applies."""

    RATIO = "ratio"
    BEST = "best"
    P50 = "p50"
    P99 = "p99"


@dataclass(frozen=True, slots=True)
class Target:
    """A bound that design section 11 sets."""

    statistic: Statistic
    bound: float
    at_least: bool

    def is_met_by(self, number: float) -> bool:
        """Return True if a number is within the bound."""
        return number >= self.bound if self.at_least else number <= self.bound


@dataclass(frozen=True, slots=True)
class Line:
    """One comparison. `key` is stable; `against` names the alternative, None if there is none."""

    key: str
    label: str
    against: str | None = None
    targets: tuple[Target, ...] = ()


@dataclass(frozen=True, slots=True)
class Measurement:
    """The measurement of a line. `notes` describes its conditions."""

    ours: Samples
    theirs: Samples | None = None
    notes: str = ""

    @property
    def ratio(self) -> float | None:
        """Return how many times better rescind is than the alternative; None without one."""
        return None if self.theirs is None else compute_ratio(self.ours, self.theirs)

    def value_of(self, statistic: Statistic) -> float | None:
        """Return the value of a statistic; None if it is not defined for this line."""
        match statistic:
            case Statistic.RATIO:
                return self.ratio
            case Statistic.BEST:
                return self.ours.best
            case Statistic.P50:
                return self.ours.quantile(0.5)
            case Statistic.P99:
                return self.ours.quantile(0.99)


Measure = Callable[[BenchSystem], Awaitable[Mapping[str, Measurement]]]
"""Measure all lines of a row, and return the measurements by line key."""


@dataclass(frozen=True, slots=True)
class Row:
    """Lines that are measured together, and the function that measures them."""

    name: str
    lines: tuple[Line, ...]
    measure: Measure


@dataclass(frozen=True, slots=True)
class LineResult:
    """A line with its measurement, and whether each target was met."""

    line: Line
    measurement: Measurement
    met: Mapping[Target, bool] = field(default_factory=dict[Target, bool])

    @property
    def ok(self) -> bool | None:
        """Return True if every target was met; None without targets."""
        return all(self.met.values()) if self.met else None


def compare(line: Line, measurement: Measurement) -> LineResult:
    """Compare a measurement with the targets of its line."""
    numbers = {target: measurement.value_of(target.statistic) for target in line.targets}
    met = {
        target: number is not None and target.is_met_by(number)
        for target, number in numbers.items()
    }
    return LineResult(line, measurement, met)
