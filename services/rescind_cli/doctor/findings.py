"""What a check found: a level, a sentence, and what to do when it is not good."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How good it is. What is not configured here, or cannot be looked at, is `skipped`."""

    OK = "ok"
    SKIPPED = "skipped"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report: `part` is what was looked at, `advice` what to do about it."""

    part: str
    level: Level
    says: str
    advice: str = ""


def ok(part: str, says: str) -> Finding:
    """Return a finding of a part that is as it should be."""
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
