"""The figures of one side of a comparison, and their statistics. Pure."""

import math
import statistics
from dataclasses import dataclass
from enum import StrEnum


class Unit(StrEnum):
    """The unit of a figure."""

    US = "µs"
    MS = "ms"
    PER_S = "/s"
    MB = "MB"
    PERCENT_PER_S = "%/s"
    CORES = "cores"

    @property
    def more_is_better(self) -> bool:
        """Return True if the larger figure is better."""
        return self is Unit.PER_S


@dataclass(frozen=True, slots=True)
class Samples:
    """The figures of one side: one for each round, at least one."""

    unit: Unit
    figures: tuple[float, ...]

    @property
    def best(self) -> float:
        """Return the best figure of all rounds."""
        return max(self.figures) if self.unit.more_is_better else min(self.figures)

    @property
    def median(self) -> float:
        """Return the median of the figures."""
        return statistics.median(self.figures)

    def quantile(self, share: float) -> float:
        """Return the smallest figure that `share` of the rounds do not exceed (nearest rank)."""
        ordered = sorted(self.figures)
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def compute_ratio(ours: Samples, theirs: Samples) -> float:
    """Return how many times better the best figure of `ours` is than that of `theirs`."""
    if ours.unit.more_is_better:
        return ours.best / theirs.best
    return theirs.best / ours.best
