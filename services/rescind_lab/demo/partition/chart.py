"""Show the partition as a chart and a table: in colour on a terminal, plain text in a pipe."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from math import ceil, floor

from rescind.core.times import NS_PER_MS, NS_PER_S
from rescind_cli.output import terminal
from rescind_lab.demo import symbols
from rescind_lab.demo.calls import MeasuredCall
from rescind_lab.demo.partition.findings import PartitionLane
from rescind_lab.demo.partition.scenario import CUT_OFF, TERM_S, PartitionOutcome
from rescind_lab.demo.symbols import Marks, Piece
from rescind_lab.demo.system import OTHER, REVOKED

_NAMES = 16  # columns before the chart
_COLUMNS = 62
_BEFORE_S = 0.5  # the chart begins so long before the cut
_NO_LEASE = "no_lease"
_NOTES = (
    f"The lease term of this demo is {TERM_S:g} s; the default is 10 s.",
    "The time of a call is the time at which it began, after the commit.",
)


def as_document(outcome: PartitionOutcome) -> dict[str, object]:
    """Return every number of the outcome, under stable keys."""
    times, revocation = outcome.times, outcome.revocation
    return {
        "ok": outcome.ok,
        "cut_off": CUT_OFF,
        "term_s": TERM_S,
        "revocation": {
            "id": revocation["id"],
            "seq": revocation["seq"],
            "selector": revocation["selector"],
            "committed_at": revocation["committed_at"],
            "receipt": revocation["receipt"],
        },
        "cut_ms": (times.cut_ns - times.commit_ns) / NS_PER_MS,
        "receipt_ms": (times.receipt_ns - times.commit_ns) / NS_PER_MS,
        "healed_ms": (times.healed_ns - times.commit_ns) / NS_PER_MS,
        "services": [asdict(lane) for lane in outcome.lanes],
        "claims": [{"claim": claim.text, "holds": claim.holds} for claim in outcome.claims],
        "calls": len(outcome.calls),
        "note": " ".join(_NOTES),
    }


def show(outcome: PartitionOutcome) -> None:
    """Draw the outcome on stdout."""
    marks = symbols.choose_marks()
    for line in _Chart(outcome, marks).draw():
        symbols.print_line(line)
    terminal.table(_HEADINGS, [_build_row(lane) for lane in outcome.lanes], empty="")
    receipt_ms = (outcome.times.receipt_ns - outcome.times.commit_ns) / NS_PER_MS
    symbols.print_line([])
    symbols.print_line(
        [(f"`revoke` with `wait` returned the receipt at {_format_ms(receipt_ms)}.", "")]
    )
    for note in _NOTES:
        symbols.print_line([(note, "")])
    symbols.print_line([])
    for claim in outcome.claims:
        symbols.print_line(symbols.format_claim(claim, marks))


_HEADINGS = ("service", "last accepted", "first denied", "receipt", "calls after the receipt")


def _build_row(lane: PartitionLane) -> tuple[str, ...]:
    return (
        lane.service,
        _format_ms(lane.last_accepted_ms),
        _format_ms(lane.first_denied_ms),
        f"{lane.outcome} {_format_ms(lane.enforced_ms)}",
        f"{lane.began_after_receipt}, {lane.accepted_after_receipt} accepted",
    )


class _Chart:
    """A lane for each token at each service, over one time axis."""

    def __init__(self, outcome: PartitionOutcome, marks: Marks) -> None:
        times = outcome.times
        self._outcome = outcome
        self._marks = marks
        self._from_ns = times.cut_ns - round(_BEFORE_S * NS_PER_S)
        ends_ns = max(call.began_ns for call in outcome.calls)
        self._step_ns = ceil((ends_ns - self._from_ns) / _COLUMNS)
        self._marked_columns = {
            "cut": self._to_column(times.cut_ns),
            "commit": self._to_column(times.commit_ns),
            "receipt": self._to_column(times.receipt_ns),
            "healed": self._to_column(times.healed_ns),
        }

    def draw(self) -> Iterator[Sequence[Piece]]:
        outcome, marks = self._outcome, self._marks
        yield [(f"{len(outcome.calls)} calls by one agent with two tokens.", "")]
        yield [(f"{CUT_OFF}'s sidecar was cut off, then one of the tokens was revoked.", "bold")]
        yield []
        yield [(" " * _NAMES + self._write_labels(), "bold")]
        for lane in outcome.lanes:
            for place, token in enumerate((REVOKED, OTHER)):
                calls = [
                    call
                    for call in outcome.calls
                    if call.service == lane.service and call.token == token
                ]
                name = lane.service if place == 0 else ""
                yield [
                    (f"{name:<8}{token:<8}", "bold" if place == 0 else "dim"),
                    *self._draw_cells(calls),
                ]
        yield [(" " * _NAMES + self._write_axis(), "dim")]
        yield [
            (" " * _NAMES, ""),
            (f"{marks.accepted} accepted  ", "green"),
            (f"{marks.denied} denied: revoked  ", "red"),
            (f"{marks.no_lease} denied: no lease", "yellow"),
        ]
        yield []

    def _draw_cells(self, calls: Sequence[MeasuredCall]) -> list[Piece]:
        """Draw one token's calls at one service. If several share a column, draw the last one."""
        marks = self._marks
        cells: dict[int, Piece] = {}
        for call in sorted(calls, key=lambda call: call.began_ns):
            if call.accepted:
                piece = (marks.accepted, "green")
            elif call.reason == _NO_LEASE:
                piece = (marks.no_lease, "yellow")
            else:
                piece = (marks.denied, "bold red")
            cells[self._to_column(call.began_ns)] = piece
        cells |= dict.fromkeys(self._marked_columns.values(), (marks.line, "bold"))
        return [cells.get(column, (" ", "")) for column in range(_COLUMNS)]

    def _write_labels(self) -> str:
        """Return the names of the marked times, each at its column or as close as possible."""
        text = ""
        for name, column in self._marked_columns.items():
            text = text.ljust(column)
            text += (" " if text and not text.endswith(" ") else "") + name
        return text

    def _write_axis(self) -> str:
        """Return the labels of the time axis: seconds after the commit."""
        commit_ns = self._outcome.times.commit_ns
        first = ceil((self._from_ns - commit_ns) / NS_PER_S)
        last = floor((self._from_ns + _COLUMNS * self._step_ns - commit_ns) / NS_PER_S)
        text = ""
        for second in range(first, last + 1):
            label = f"{second:+d} s" if second else "0"
            column = self._to_column(commit_ns + second * NS_PER_S)
            text = text.ljust(column) + label
        return text

    def _to_column(self, moment_ns: int) -> int:
        return (moment_ns - self._from_ns) // self._step_ns


def _format_ms(moment_ms: float | None) -> str:
    return "never" if moment_ms is None else f"{moment_ms:+,.0f} ms"
