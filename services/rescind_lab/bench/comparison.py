"""The lines of the report: each comparison, its targets, and its measurement."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from rescind_lab.bench.environment import BenchStage
from rescind_lab.bench.samples import Samples, ratio


class Statistic(StrEnum):
    """The number to which a target applies."""

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

    def met(self, number: float) -> bool:
        """Return True if a number keeps the bound."""
        return number >= self.bound if self.at_least else number <= self.bound


@dataclass(frozen=True, slots=True)
class Line:
    """One comparison. `key` is stable; `against` names the alternative, None if there is none."""

    key: str
    label: str
    against: str | None = None
    targets: tuple[Target, ...] = ()


@dataclass(frozen=True, slots=True)
class Measured:
    """The measurement of a line. `notes` contains the conditions that a reader has to know."""

    ours: Samples
    theirs: Samples | None = None
    notes: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times better rescind is; None without an alternative."""
        return None if self.theirs is None else ratio(self.ours, self.theirs)

    def number(self, statistic: Statistic) -> float | None:
        """Return the number to which a target applies."""
        match statistic:
            case Statistic.RATIO:
                return self.ratio
            case Statistic.BEST:
                return self.ours.best
            case Statistic.P50:
                return self.ours.quantile(0.5)
            case Statistic.P99:
                return self.ours.quantile(0.99)


Measure = Callable[[BenchStage], Awaitable[Mapping[str, Measured]]]
"""Measure all lines of a row; the keys are the lines' keys."""


@dataclass(frozen=True, slots=True)
class Row:
    """Lines that are measured together, and the function that measures them."""

    name: str
    lines: tuple[Line, ...]
    measure: Measure


@dataclass(frozen=True, slots=True)
class Judged:
    """A line with its measurement, and whether each target was met."""

    line: Line
    measured: Measured
    met: Mapping[Target, bool] = field(default_factory=dict[Target, bool])

    @property
    def ok(self) -> bool | None:
        """Whether every target was met; None without targets."""
        return all(self.met.values()) if self.met else None


def judge(line: Line, measured: Measured) -> Judged:
    """Compare a measurement with the targets of its line."""
    numbers = {target: measured.number(target.statistic) for target in line.targets}
    met = {target: number is not None and target.met(number) for target, number in numbers.items()}
    return Judged(line, measured, met)
