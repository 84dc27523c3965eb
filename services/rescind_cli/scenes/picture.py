"""The demo's outcome as a picture and a table: in colour on a terminal, plain text in a pipe."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from rescind_cli import render
from rescind_cli.scenes import drawing
from rescind_cli.scenes.calls import Call
from rescind_cli.scenes.demo import Outcome
from rescind_cli.scenes.drawing import Marks, Piece
from rescind_cli.scenes.stage import OTHER, REVOKED
from rescind_cli.scenes.timeline import Lane

_NS_PER_MS = 1_000_000
_REACHES_MS = (20, 40, 100, 200, 400, 1_000, 2_000, 4_000, 10_000)
_SIDE = 30  # columns on either side of the commit
_NOTE = (
    "0 ms is the time of the event, which Postgres read just before COMMIT. "
    "A call counts by when it began."
)


def as_document(outcome: Outcome) -> dict[str, object]:
    """Give every number of the outcome, under stable keys."""
    moments, revocation = outcome.moments, outcome.revocation
    return {
        "ok": outcome.ok,
        "revocation": {
            "id": revocation["id"],
            "seq": revocation["seq"],
            "selector": revocation["selector"],
            "committed_at": revocation["committed_at"],
            "answered_ms": (moments.answered_ns - moments.commit_ns) / _NS_PER_MS,
        },
        "services": [asdict(lane) for lane in outcome.lanes],
        "claims": [{"claim": claim.text, "holds": claim.holds} for claim in outcome.claims],
        "calls": len(outcome.calls),
        "note": _NOTE,
    }


def show(outcome: Outcome) -> None:
    """Draw the outcome on stdout."""
    marks = drawing.marks()
    for line in _lines(outcome, marks):
        drawing.show(line)
    render.table(_COLUMNS, [_row(lane) for lane in outcome.lanes], empty="")
    for line in _ending(outcome, marks):
        drawing.show(line)


_COLUMNS = (
    "service",
    "last accepted",
    "first denied",
    "acknowledged",
    "calls since then",
    "other token",
)


def _row(lane: Lane) -> tuple[str, ...]:
    return (
        lane.service,
        _ms(lane.last_accepted_ms),
        _ms(lane.first_denied_ms),
        _ms(lane.acknowledged_ms),
        f"{lane.began_after_acknowledgement}, {lane.accepted_after_acknowledgement} accepted",
        f"{lane.other_calls}, {lane.other_denied} denied",
    )


def _lines(outcome: Outcome, marks: Marks) -> Iterator[Sequence[Piece]]:
    reach_ms = _reach_ms(outcome.lanes)
    yield [
        (f"{len(outcome.calls)} calls by one agent with two tokens; one was revoked. ", ""),
        ("ms after the commit:", "bold"),
    ]
    yield []
    yield [(" " * 16 + _axis(reach_ms), "dim")]
    for lane in outcome.lanes:
        here = [call for call in outcome.calls if call.service == lane.service]
        for place, token in enumerate((REVOKED, OTHER)):
            calls = [call for call in here if call.token == token]
            name = lane.service if place == 0 else ""
            yield [
                (f"{name:<8}{token:<8}", "bold" if place == 0 else "dim"),
                *_cells(outcome, lane, calls, reach_ms, marks),
            ]
    yield [
        (" " * 16, ""),
        (f"{marks.accepted} accepted  ", "green"),
        (f"{marks.denied} denied  ", "red"),
        (f"{marks.line} commit  ", "bold"),
        (f"{marks.acknowledged} acknowledged by the sidecar", "yellow"),
    ]
    yield []


def _cells(
    outcome: Outcome, lane: Lane, calls: Sequence[Call], reach_ms: int, marks: Marks
) -> list[Piece]:
    """Draw one token's calls at one service; where two fall into one column, the denial shows."""
    cells: dict[int, Piece] = {_SIDE: (marks.line, "bold")}
    if lane.acknowledged_ms is not None and any(not call.accepted for call in calls):
        cells[_column(lane.acknowledged_ms, reach_ms)] = (marks.acknowledged, "yellow")
    for call in sorted(calls, key=lambda call: not call.accepted):
        began_ms = (call.began_ns - outcome.moments.commit_ns) / _NS_PER_MS
        column = _column(began_ms, reach_ms)
        if column != _SIDE and 0 <= column <= 2 * _SIDE:
            cells[column] = (
                (marks.accepted, "green") if call.accepted else (marks.denied, "bold red")
            )
    return [cells.get(column, (" ", "")) for column in range(2 * _SIDE + 1)]


def _ending(outcome: Outcome, marks: Marks) -> Iterator[Sequence[Piece]]:
    answered_ms = (outcome.moments.answered_ns - outcome.moments.commit_ns) / _NS_PER_MS
    yield []
    yield [(f"`revoke` itself was answered at {_ms(answered_ms)}.", "")]
    yield [(_NOTE, "")]
    yield []
    for claim in outcome.claims:
        yield drawing.sentence(claim, marks)


def _reach_ms(lanes: Sequence[Lane]) -> int:
    moments = [each for lane in lanes for each in (lane.first_denied_ms, lane.acknowledged_ms)]
    furthest = max((each for each in moments if each is not None), default=0.0)
    return next((reach for reach in _REACHES_MS if reach >= 2 * furthest), _REACHES_MS[-1])


def _column(moment_ms: float, reach_ms: int) -> int:
    return _SIDE + round(moment_ms * _SIDE / reach_ms)


def _axis(reach_ms: int) -> str:
    cells = [" "] * (2 * _SIDE + 6)
    for fraction in (-1.0, -0.5, 0.0, 0.5, 1.0):
        label = f"{reach_ms * fraction:+.0f}" if fraction else "0"
        start = max(0, _SIDE + round(fraction * _SIDE) - len(label) // 2)
        cells[start : start + len(label)] = label
    return "".join(cells).rstrip()


def _ms(moment_ms: float | None) -> str:
    return "never" if moment_ms is None else f"{moment_ms:+.1f} ms"
