"""The result of a check: a level, a sentence, and advice unless all is good."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """The level of a finding. A part that is not configured or cannot be checked is `skipped`."""

    OK = "ok"
    SKIPPED = "skipped"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report: `part` is the checked part, `advice` is what to do about it."""

    part: str
    level: Level
    says: str
    advice: str = ""


def ok(part: str, says: str) -> Finding:
    """Return a finding of a part without a fault."""
    return Finding(part, Level.OK, says)


def skipped(part: str, says: str) -> Finding:
    """Return a finding of a part that was not checked, and why."""
    return Finding(part, Level.SKIPPED, says)


def warning(part: str, says: str, advice: str) -> Finding:
    """Return a finding of a part that works and should be changed."""
    return Finding(part, Level.WARNING, says, advice)


def failed(part: str, says: str, advice: str) -> Finding:
    """Return a finding of a part that does not work."""
    return Finding(part, Level.FAILED, says, advice)


def count(found: Iterable[Finding], level: Level) -> int:
    """Count the findings of a level."""
    return sum(each.level is level for each in found)
