"""Show the agents as a chart and a table: in colour on a terminal, plain text in a pipe."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from math import ceil

from rescind.core.times import NS_PER_MS
from rescind_cli.output import terminal
from rescind_lab.demo import symbols
from rescind_lab.demo.agents.findings import AgentLane, CommandTimes
from rescind_lab.demo.agents.scenario import NARROWED, AgentsOutcome
from rescind_lab.demo.calls import MeasuredCall
from rescind_lab.demo.symbols import Marks, Piece

_NAMES = 20  # columns before the chart
_COLUMNS = 60
_REVOKED = "revoked"
_HEADINGS = (
    "agent",
    f"denied at {NARROWED}",
    "denied: revoked",
    "stream ended",
    "calls after the kill",
)


def as_document(outcome: AgentsOutcome) -> dict[str, object]:
    """Return every number of the outcome, under stable keys."""
    return {
        "ok": outcome.ok,
        "narrow": outcome.narrowed.revocation_id,
        "kill": outcome.killed.revocation_id,
        "narrow_receipt_ms": _to_receipt_ms(outcome.narrowed),
        "kill_receipt_ms": _to_receipt_ms(outcome.killed),
        "agents": [asdict(lane) for lane in outcome.lanes],
        "claims": [{"claim": claim.text, "holds": claim.holds} for claim in outcome.claims],
        "calls": len(outcome.calls),
    }


def show(outcome: AgentsOutcome) -> None:
    """Draw the outcome on stdout."""
    marks = symbols.choose_marks()
    for line in _Chart(outcome, marks).draw():
        symbols.print_line(line)
    terminal.table(_HEADINGS, [_build_row(lane) for lane in outcome.lanes], empty="")
    symbols.print_line([])
    symbols.print_line(
        [
            ("The receipts arrived after their commits: ", ""),
            (f"the narrowing's after {_to_receipt_ms(outcome.narrowed):.1f} ms, ", ""),
            (f"the kill's after {_to_receipt_ms(outcome.killed):.1f} ms.", ""),
        ]
    )
    symbols.print_line([])
    for claim in outcome.claims:
        symbols.print_line(symbols.format_claim(claim, marks))


def _build_row(lane: AgentLane) -> tuple[str, ...]:
    return (
        _indent_name(lane),
        _format_ms(lane.narrowed_ms),
        _format_ms(lane.revoked_ms),
        _format_ms(lane.stream_ms),
        f"{lane.killed_after}, {lane.killed_accepted_after} accepted",
    )


def _indent_name(lane: AgentLane) -> str:
    return "  " * lane.depth + lane.agent


class _Chart:
    """A lane for each agent over one time axis."""

    def __init__(self, outcome: AgentsOutcome, marks: Marks) -> None:
        self._outcome = outcome
        self._marks = marks
        began = [call.began_ns for call in outcome.calls]
        self._from_ns = min(began)
        self._step_ns = ceil((max(began) + 1 - self._from_ns) / _COLUMNS)
        self._marked_columns = {
            "narrow": self._to_column(outcome.narrowed.commit_ns),
            "kill": self._to_column(outcome.killed.commit_ns),
        }

    def draw(self) -> Iterator[Sequence[Piece]]:
        outcome, marks = self._outcome, self._marks
        agents, calls = len(outcome.lanes), len(outcome.calls)
        yield [(f"{calls:,} calls by {agents} agents at 3 services; one agent went rogue.", "")]
        yield []
        yield [(" " * _NAMES + self._write_labels(), "bold")]
        for lane in outcome.lanes:
            own = [call for call in outcome.calls if call.token == lane.agent]
            yield [
                (f"{_indent_name(lane):<{_NAMES}}", "bold" if lane.hit else ""),
                *self._draw_cells(own),
            ]
        yield [
            (" " * _NAMES, ""),
            (f"{marks.accepted} accepted  ", "green"),
            (f"{marks.no_lease} denied at {NARROWED}  ", "yellow"),
            (f"{marks.denied} denied: revoked", "red"),
        ]
        yield []

    def _draw_cells(self, calls: Sequence[MeasuredCall]) -> list[Piece]:
        """Draw one agent's calls. If several share a column, draw the worst one."""
        cells: dict[int, tuple[int, Piece]] = {}
        for call in calls:
            column = self._to_column(call.began_ns)
            cells[column] = max(cells.get(column, (0, (" ", ""))), self._choose_mark(call))
        drawn = {column: piece for column, (_, piece) in cells.items()}
        drawn |= dict.fromkeys(self._marked_columns.values(), (self._marks.line, "bold"))
        return [drawn.get(column, (" ", "")) for column in range(_COLUMNS)]

    def _choose_mark(self, call: MeasuredCall) -> tuple[int, Piece]:
        if call.accepted:
            return 1, (self._marks.accepted, "green")
        if call.reason == _REVOKED:
            return 3, (self._marks.denied, "bold red")
        return 2, (self._marks.no_lease, "yellow")

    def _write_labels(self) -> str:
        text = ""
        for name, column in self._marked_columns.items():
            text = text.ljust(column) + name
        return text

    def _to_column(self, moment_ns: int) -> int:
        return (moment_ns - self._from_ns) // self._step_ns


def _to_receipt_ms(command: CommandTimes) -> float:
    return (command.receipt_ns - command.commit_ns) / NS_PER_MS


def _format_ms(moment_ms: float | None) -> str:
    return "never" if moment_ms is None else f"{moment_ms:+,.1f} ms"
