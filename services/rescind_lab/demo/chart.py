"""Show the demo's outcome as a chart and a table: in colour on a terminal, else plain text."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from rescind.core.times import NS_PER_MS
from rescind_cli.output import terminal
from rescind_lab.demo import symbols
from rescind_lab.demo.calls import MeasuredCall
from rescind_lab.demo.single_revocation import RevocationOutcome
from rescind_lab.demo.symbols import Marks, Piece
from rescind_lab.demo.system import OTHER, REVOKED
from rescind_lab.demo.timeline import ServiceLane

_REACHES_MS = (20, 40, 100, 200, 400, 1_000, 2_000, 4_000, 10_000)
_SIDE = 30  # columns on either side of the commit
_NOTE = (
    "0 ms is the time of the event, which Postgres reads just before COMMIT. "
    "The time of a call is the time at which it began."
)


def as_document(outcome: RevocationOutcome) -> dict[str, object]:
    """Return every number of the outcome, under stable keys."""
    times, revocation = outcome.times, outcome.revocation
    return {
        "ok": outcome.ok,
        "revocation": {
            "id": revocation["id"],
            "seq": revocation["seq"],
            "selector": revocation["selector"],
            "committed_at": revocation["committed_at"],
            "answered_ms": (times.answered_ns - times.commit_ns) / NS_PER_MS,
        },
        "services": [asdict(lane) for lane in outcome.lanes],
        "claims": [{"claim": claim.text, "holds": claim.holds} for claim in outcome.claims],
        "calls": len(outcome.calls),
        "note": _NOTE,
    }


def show(outcome: RevocationOutcome) -> None:
    """Draw the outcome on stdout."""
    marks = symbols.choose_marks()
    for line in _build_lines(outcome, marks):
        symbols.print_line(line)
    terminal.table(_HEADINGS, [_build_row(lane) for lane in outcome.lanes], empty="")
    for line in _build_footer(outcome, marks):
        symbols.print_line(line)


_HEADINGS = (
    "service",
    "last accepted",
    "first denied",
    "acknowledged",
    "calls after that",
    "other token",
)


def _build_row(lane: ServiceLane) -> tuple[str, ...]:
    return (
        lane.service,
        _format_ms(lane.last_accepted_ms),
        _format_ms(lane.first_denied_ms),
        _format_ms(lane.acknowledged_ms),
        f"{lane.began_after_acknowledgement}, {lane.accepted_after_acknowledgement} accepted",
        f"{lane.other_calls}, {lane.other_denied} denied",
    )


def _build_lines(outcome: RevocationOutcome, marks: Marks) -> Iterator[Sequence[Piece]]:
    reach = choose_reach_ms(outcome.lanes)
    yield [
        (f"{len(outcome.calls)} calls by one agent with two tokens; one was revoked. ", ""),
        ("ms after the commit:", "bold"),
    ]
    yield []
    yield [(" " * 16 + _format_axis(reach), "dim")]
    for lane in outcome.lanes:
        own = [call for call in outcome.calls if call.service == lane.service]
        for place, token in enumerate((REVOKED, OTHER)):
            calls = [call for call in own if call.token == token]
            name = lane.service if place == 0 else ""
            yield [
                (f"{name:<8}{token:<8}", "bold" if place == 0 else "dim"),
                *_draw_cells(outcome, lane, calls, reach, marks),
            ]
    yield [
        (" " * 16, ""),
        (f"{marks.accepted} accepted  ", "green"),
        (f"{marks.denied} denied  ", "red"),
        (f"{marks.line} commit  ", "bold"),
        (f"{marks.acknowledged} acknowledged by the sidecar", "yellow"),
    ]
    yield []


def _draw_cells(
    outcome: RevocationOutcome,
    lane: ServiceLane,
    calls: Sequence[MeasuredCall],
    reach: int,
    marks: Marks,
) -> list[Piece]:
    """Draw one token's calls at one service. If several share a column, draw a denial."""
    cells: dict[int, Piece] = {_SIDE: (marks.line, "bold")}
    if lane.acknowledged_ms is not None and any(not call.accepted for call in calls):
        cells[_to_column(lane.acknowledged_ms, reach)] = (marks.acknowledged, "yellow")
    for call in sorted(calls, key=lambda call: not call.accepted):
        began_ms = (call.began_ns - outcome.times.commit_ns) / NS_PER_MS
        column = _to_column(began_ms, reach)
        if column != _SIDE and 0 <= column <= 2 * _SIDE:
            cells[column] = (
                (marks.accepted, "green") if call.accepted else (marks.denied, "bold red")
            )
    return [cells.get(column, (" ", "")) for column in range(2 * _SIDE + 1)]


def _build_footer(outcome: RevocationOutcome, marks: Marks) -> Iterator[Sequence[Piece]]:
    answered_ms = (outcome.times.answered_ns - outcome.times.commit_ns) / NS_PER_MS
    yield []
    yield [(f"`revoke` returned at {_format_ms(answered_ms)}.", "")]
    yield [(_NOTE, "")]
    yield []
    for claim in outcome.claims:
        yield symbols.format_claim(claim, marks)


def choose_reach_ms(lanes: Sequence[ServiceLane]) -> int:
    """Return the time that a chart shows on either side of the commit, in ms."""
    times = [each for lane in lanes for each in (lane.first_denied_ms, lane.acknowledged_ms)]
    furthest = max((each for each in times if each is not None), default=0.0)
    return next((reach for reach in _REACHES_MS if reach >= 2 * furthest), _REACHES_MS[-1])


def _to_column(moment_ms: float, reach: int) -> int:
    return _SIDE + round(moment_ms * _SIDE / reach)


def _format_axis(reach: int) -> str:
    cells = [" "] * (2 * _SIDE + 6)
    for fraction in (-1.0, -0.5, 0.0, 0.5, 1.0):
        label = f"{reach * fraction:+.0f}" if fraction else "0"
        start = max(0, _SIDE + round(fraction * _SIDE) - len(label) // 2)
        cells[start : start + len(label)] = label
    return "".join(cells).rstrip()


def _format_ms(moment_ms: float | None) -> str:
    return "never" if moment_ms is None else f"{moment_ms:+.1f} ms"
