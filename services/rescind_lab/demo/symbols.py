"""The shared parts of the charts: colour on a terminal, plain text in a pipe."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from rescind_lab.demo.timeline import MeasuredClaim

Piece = tuple[str, str]
"""Some text, and its style."""


@dataclass(frozen=True, slots=True)
class Marks:
    """The characters of a chart."""

    accepted: str
    denied: str
    no_lease: str
    acknowledged: str
    line: str
    yes: str
    no: str


_TERMINAL_MARKS = Marks("●", "✗", "○", "▲", "│", "✓", "✗")
_PLAIN_MARKS = Marks("+", "x", "o", "^", "|", "yes", "NO")


def choose_marks() -> Marks:
    """Return the marks that stdout can show."""
    return _TERMINAL_MARKS if sys.stdout.isatty() else _PLAIN_MARKS


def format_claim(claim: MeasuredClaim, marks: Marks) -> Sequence[Piece]:
    """Format a claim, and whether the measurement confirms it."""
    return [
        (marks.yes, "green") if claim.holds else (marks.no, "bold red"),
        (f"  {claim.text}", ""),
    ]


def print_line(line: Sequence[Piece]) -> None:
    """Print one line on stdout."""
    if not sys.stdout.isatty():
        sys.stdout.write("".join(text for text, _ in line).rstrip() + "\n")
        return
    from rich.console import Console  # noqa: PLC0415 - a pipe need not pay for it
    from rich.text import Text  # noqa: PLC0415 - the same

    Console(highlight=False).print(Text.assemble(*line))
