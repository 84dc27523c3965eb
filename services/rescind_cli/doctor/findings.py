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
    message: str
    advice: str = ""


def ok(part: str, message: str) -> Finding:
    """Return a finding of a part without a fault."""
    return Finding(part, Level.OK, message)


def skipped(part: str, message: str) -> Finding:
    """Return a finding of a part that was not checked, and why."""
    return Finding(part, Level.SKIPPED, message)


def warning(part: str, message: str, advice: str) -> Finding:
    """Return a finding of a part that works and should be changed."""
    return Finding(part, Level.WARNING, message, advice)


def failed(part: str, message: str, advice: str) -> Finding:
    """Return a finding of a part that does not work."""
    return Finding(part, Level.FAILED, message, advice)


def count(found: Iterable[Finding], level: Level) -> int:
    """Count the findings of a level."""
    return sum(each.level is level for each in found)
