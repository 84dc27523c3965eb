"""The agents as a picture and a table: in colour on a terminal, plain text in a pipe."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from math import ceil

from rescind.core.times import NS_PER_MS
from rescind_cli.output import terminal
from rescind_lab.demo import symbols
from rescind_lab.demo.agents.findings import AgentLane, Moment
from rescind_lab.demo.agents.scenario import NARROWED, AgentsOutcome
from rescind_lab.demo.calls import MeasuredCall
from rescind_lab.demo.symbols import Marks, Piece

_NAMES = 20  # columns before the picture
_COLUMNS = 60
_REVOKED = "revoked"
_HEADINGS = ("agent", f"denied at {NARROWED}", "denied", "stream cut", "calls after the kill")


def as_document(outcome: AgentsOutcome) -> dict[str, object]:
    """Return every number of the outcome, under stable keys."""
    return {
        "ok": outcome.ok,
        "narrow": outcome.narrowed.revocation_id,
        "kill": outcome.killed.revocation_id,
        "narrow_receipt_ms": _receipt_ms(outcome.narrowed),
        "kill_receipt_ms": _receipt_ms(outcome.killed),
        "agents": [asdict(lane) for lane in outcome.lanes],
        "claims": [{"claim": claim.text, "holds": claim.holds} for claim in outcome.claims],
        "calls": len(outcome.calls),
    }


def show(outcome: AgentsOutcome) -> None:
    """Draw the outcome on stdout."""
    marks = symbols.marks()
    for line in _Picture(outcome, marks).lines():
        symbols.show(line)
    terminal.table(_HEADINGS, [_row(lane) for lane in outcome.lanes], empty="")
    symbols.show([])
    symbols.show(
        [
            (f"narrowed everywhere {_receipt_ms(outcome.narrowed):.1f} ms after its commit, ", ""),
            (f"killed everywhere {_receipt_ms(outcome.killed):.1f} ms after its own.", ""),
        ]
    )
    symbols.show([])
    for claim in outcome.claims:
        symbols.show(symbols.sentence(claim, marks))


def _row(lane: AgentLane) -> tuple[str, ...]:
    return (
        _name(lane),
        _ms(lane.narrowed_ms),
        _ms(lane.revoked_ms),
        _ms(lane.stream_ms),
        f"{lane.killed_after}, {lane.killed_accepted_after} accepted",
    )


def _name(lane: AgentLane) -> str:
    return "  " * lane.generation + lane.agent


class _Picture:
    """A lane for each agent over one time axis."""

    def __init__(self, outcome: AgentsOutcome, marks: Marks) -> None:
        self._outcome = outcome
        self._marks = marks
        began = [call.began_ns for call in outcome.calls]
        self._from_ns = min(began)
        self._step_ns = ceil((max(began) + 1 - self._from_ns) / _COLUMNS)
        self._moments = {
            "narrow": self._column(outcome.narrowed.commit_ns),
            "kill": self._column(outcome.killed.commit_ns),
        }

    def lines(self) -> Iterator[Sequence[Piece]]:
        outcome, marks = self._outcome, self._marks
        agents, calls = len(outcome.lanes), len(outcome.calls)
        yield [(f"{calls:,} calls by {agents} agents at 3 services; one went rogue.", "")]
        yield []
        yield [(" " * _NAMES + self._labels(), "bold")]
        for lane in outcome.lanes:
            made = [call for call in outcome.calls if call.token == lane.agent]
            yield [(f"{_name(lane):<{_NAMES}}", "bold" if lane.hit else ""), *self._cells(made)]
        yield [
            (" " * _NAMES, ""),
            (f"{marks.accepted} accepted  ", "green"),
            (f"{marks.no_lease} denied at {NARROWED}  ", "yellow"),
            (f"{marks.denied} revoked", "red"),
        ]
        yield []

    def _cells(self, calls: Sequence[MeasuredCall]) -> list[Piece]:
        """Draw one agent's calls. If several share a column, draw the worst one."""
        cells: dict[int, tuple[int, Piece]] = {}
        for call in calls:
            column = self._column(call.began_ns)
            cells[column] = max(cells.get(column, (0, (" ", ""))), self._mark(call))
        drawn = {column: piece for column, (_, piece) in cells.items()}
        drawn |= dict.fromkeys(self._moments.values(), (self._marks.line, "bold"))
        return [drawn.get(column, (" ", "")) for column in range(_COLUMNS)]

    def _mark(self, call: MeasuredCall) -> tuple[int, Piece]:
        if call.accepted:
            return 1, (self._marks.accepted, "green")
        if call.reason == _REVOKED:
            return 3, (self._marks.denied, "bold red")
        return 2, (self._marks.no_lease, "yellow")

    def _labels(self) -> str:
        text = ""
        for name, column in self._moments.items():
            text = text.ljust(column) + name
        return text

    def _column(self, moment_ns: int) -> int:
        return (moment_ns - self._from_ns) // self._step_ns


def _receipt_ms(moment: Moment) -> float:
    return (moment.receipt_ns - moment.commit_ns) / NS_PER_MS


def _ms(moment_ms: float | None) -> str:
    return "never" if moment_ms is None else f"{moment_ms:+,.1f} ms"
