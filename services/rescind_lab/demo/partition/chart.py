"""The partition as a picture and a table: in colour on a terminal, plain text in a pipe."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from math import ceil, floor

from rescind.core.times import NS_PER_MS, NS_PER_S
from rescind_cli.output import terminal
from rescind_lab.demo import symbols
from rescind_lab.demo.calls import MeasuredCall
from rescind_lab.demo.environment import OTHER, REVOKED
from rescind_lab.demo.partition.findings import PartitionLane
from rescind_lab.demo.partition.scenario import CUT_OFF, TERM_S, PartitionOutcome
from rescind_lab.demo.symbols import Marks, Piece

_NAMES = 16  # columns before the picture
_COLUMNS = 62
_BEFORE_S = 0.5  # drawn before the cut
_NO_LEASE = "no_lease"
_NOTES = (
    f"The lease term is {TERM_S:g} s here; the default is 10 s.",
    "A call counts by when it began, in time after the commit.",
)


def as_document(outcome: PartitionOutcome) -> dict[str, object]:
    """Return every number of the outcome, under stable keys."""
    moments, revocation = outcome.moments, outcome.revocation
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
        "cut_ms": (moments.cut_ns - moments.commit_ns) / NS_PER_MS,
        "receipt_ms": (moments.receipt_ns - moments.commit_ns) / NS_PER_MS,
        "healed_ms": (moments.healed_ns - moments.commit_ns) / NS_PER_MS,
        "services": [asdict(lane) for lane in outcome.lanes],
        "claims": [{"claim": claim.text, "holds": claim.holds} for claim in outcome.claims],
        "calls": len(outcome.calls),
        "note": " ".join(_NOTES),
    }


def show(outcome: PartitionOutcome) -> None:
    """Draw the outcome on stdout."""
    marks = symbols.marks()
    for line in _Picture(outcome, marks).lines():
        symbols.show(line)
    terminal.table(_HEADINGS, [_row(lane) for lane in outcome.lanes], empty="")
    receipt_ms = (outcome.moments.receipt_ns - outcome.moments.commit_ns) / NS_PER_MS
    symbols.show([])
    symbols.show(
        [(f"`revoke` with `wait` was answered, with the receipt, at {_ms(receipt_ms)}.", "")]
    )
    for note in _NOTES:
        symbols.show([(note, "")])
    symbols.show([])
    for claim in outcome.claims:
        symbols.show(symbols.sentence(claim, marks))


_HEADINGS = ("service", "last accepted", "first denied", "receipt", "calls after it")


def _row(lane: PartitionLane) -> tuple[str, ...]:
    return (
        lane.service,
        _ms(lane.last_accepted_ms),
        _ms(lane.first_denied_ms),
        f"{lane.outcome} {_ms(lane.enforced_ms)}",
        f"{lane.began_after_receipt}, {lane.accepted_after_receipt} accepted",
    )


class _Picture:
    """The lanes over one time axis, with the moments marked in each."""

    def __init__(self, outcome: PartitionOutcome, marks: Marks) -> None:
        moments = outcome.moments
        self._outcome = outcome
        self._marks = marks
        self._from_ns = moments.cut_ns - round(_BEFORE_S * NS_PER_S)
        ends_ns = max(call.began_ns for call in outcome.calls)
        self._step_ns = ceil((ends_ns - self._from_ns) / _COLUMNS)
        self._moments = {
            "cut": self._column(moments.cut_ns),
            "commit": self._column(moments.commit_ns),
            "receipt": self._column(moments.receipt_ns),
            "healed": self._column(moments.healed_ns),
        }

    def lines(self) -> Iterator[Sequence[Piece]]:
        outcome, marks = self._outcome, self._marks
        yield [(f"{len(outcome.calls)} calls by one agent with two tokens.", "")]
        yield [(f"{CUT_OFF}'s sidecar was cut off, then one of the tokens was revoked.", "bold")]
        yield []
        yield [(" " * _NAMES + self._labels(), "bold")]
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
                    *self._cells(calls),
                ]
        yield [(" " * _NAMES + self._axis(), "dim")]
        yield [
            (" " * _NAMES, ""),
            (f"{marks.accepted} accepted  ", "green"),
            (f"{marks.denied} denied: revoked  ", "red"),
            (f"{marks.no_lease} denied: no lease", "yellow"),
        ]
        yield []

    def _cells(self, calls: Sequence[MeasuredCall]) -> list[Piece]:
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
            cells[self._column(call.began_ns)] = piece
        cells |= dict.fromkeys(self._moments.values(), (marks.line, "bold"))
        return [cells.get(column, (" ", "")) for column in range(_COLUMNS)]

    def _labels(self) -> str:
        """Return the names of the moments, each from its column on or as close as possible."""
        text = ""
        for name, column in self._moments.items():
            text = text.ljust(column)
            text += (" " if text and not text.endswith(" ") else "") + name
        return text

    def _axis(self) -> str:
        """Return the labels of the time axis: seconds after the commit."""
        commit_ns = self._outcome.moments.commit_ns
        first = ceil((self._from_ns - commit_ns) / NS_PER_S)
        last = floor((self._from_ns + _COLUMNS * self._step_ns - commit_ns) / NS_PER_S)
        text = ""
        for second in range(first, last + 1):
            label = f"{second:+d} s" if second else "0"
            column = self._column(commit_ns + second * NS_PER_S)
            text = text.ljust(column) + label
        return text

    def _column(self, moment_ns: int) -> int:
        return (moment_ns - self._from_ns) // self._step_ns


def _ms(moment_ms: float | None) -> str:
    return "never" if moment_ms is None else f"{moment_ms:+,.0f} ms"
