"""Draw the demo's outcome as an SVG: for light and dark pages, without a script or a link."""

from collections.abc import Iterator, Sequence
from html import escape

from rescind.core.times import NS_PER_MS
from rescind_lab.demo.calls import MeasuredCall
from rescind_lab.demo.chart import choose_reach_ms
from rescind_lab.demo.single_revocation import RevocationOutcome
from rescind_lab.demo.system import OTHER, REVOKED
from rescind_lab.demo.timeline import ServiceLane

_WIDTH = 900
_LEFT, _RIGHT = 220, 850
_TOP, _ROW, _GAP = 96, 26, 22
_STYLE = """
:root { color-scheme: light dark }
text { font: 13px ui-sans-serif, system-ui, sans-serif; fill: #1f2328 }
.paper { fill: #ffffff } .title { font-weight: 600; font-size: 15px } .dim { fill: #59636e }
.rule { stroke: #d1d9e0 } .commit { stroke: #1f2328; stroke-width: 1.5; stroke-dasharray: 4 3 }
.good { fill: #1a7f37 } .bad { stroke: #cf222e; stroke-width: 2; fill: none }
.acknowledged { fill: #9a6700 }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc } .paper { fill: #0d1117 } .dim { fill: #9198a1 }
.rule { stroke: #3d444d } .commit { stroke: #f0f6fc }
.good { fill: #3fb950 } .bad { stroke: #f85149 } .acknowledged { fill: #d29922 }
}"""


def draw(outcome: RevocationOutcome) -> str:
    """Return the SVG: a row for each token at each service, a mark for each call in reach."""
    reach = choose_reach_ms(outcome.lanes)
    height = _to_top(len(outcome.lanes)) + 96
    title = f"{len(outcome.calls):,} calls by one agent with two tokens; one of them was revoked"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{_STYLE}\n</style>",
        f'<rect class="paper" width="{_WIDTH}" height="{height}" rx="8"/>',
        _draw_text(24, 34, title, "title"),
        *_draw_axis(reach, bottom=_to_top(len(outcome.lanes)) - _GAP + 8),
    ]
    for place, lane in enumerate(outcome.lanes):
        parts += _draw_lane(outcome, lane, reach, top=_to_top(place))
    parts += _draw_legend(height - 76)
    parts += (
        _draw_text(24, height - 44 + 20 * line, text, "dim")
        for line, text in enumerate(_write_caption(outcome))
    )
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def _to_top(place: int) -> int:
    return _TOP + place * (2 * _ROW + _GAP)


def _to_x(moment_ms: float, reach: int) -> float:
    return round(_LEFT + (moment_ms + reach) * (_RIGHT - _LEFT) / (2 * reach), 1)


def _draw_text(x: float, y: float, text: str, kind: str = "", *, anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>'


def _draw_axis(reach: int, *, bottom: int) -> Iterator[str]:
    for fraction in (-1.0, -0.5, 0.0, 0.5, 1.0):
        x = _to_x(fraction * reach, reach)
        label = "commit" if fraction == 0 else f"{fraction * reach:+.0f} ms"
        yield _draw_text(x, 66, label, "dim", anchor="middle")
        kind = "commit" if fraction == 0 else "rule"
        yield f'<line class="{kind}" x1="{x}" x2="{x}" y1="74" y2="{bottom}"/>'


def _draw_lane(
    outcome: RevocationOutcome, lane: ServiceLane, reach: int, *, top: int
) -> Iterator[str]:
    yield _draw_text(24, top + 5, lane.service, "title")
    for row, (token, name) in enumerate(((REVOKED, "revoked token"), (OTHER, "other token"))):
        y = top + row * _ROW
        yield _draw_text(_LEFT - 12, y + 4, name, "dim", anchor="end")
        calls = [
            call for call in outcome.calls if (call.service, call.token) == (lane.service, token)
        ]
        yield from _draw_marks(calls, outcome.times.commit_ns, reach, y)
    if lane.acknowledged_ms is not None and lane.acknowledged_ms <= reach:
        x, y = _to_x(lane.acknowledged_ms, reach), top + 9
        yield f'<path class="acknowledged" d="M{x} {y}l5 9h-10z"/>'


def _draw_marks(calls: Sequence[MeasuredCall], commit_ns: int, reach: int, y: int) -> Iterator[str]:
    for call in calls:
        began_ms = (call.began_ns - commit_ns) / NS_PER_MS
        if abs(began_ms) > reach:
            continue
        x = _to_x(began_ms, reach)
        if call.accepted:
            yield f'<circle class="good" cx="{x}" cy="{y}" r="4.5"/>'
        else:
            yield f'<path class="bad" d="M{x - 4:.1f} {y - 4}l8 8m0 -8l-8 8"/>'


def _draw_legend(y: int) -> Iterator[str]:
    yield f'<circle class="good" cx="{_LEFT}" cy="{y - 4}" r="4.5"/>'
    yield _draw_text(_LEFT + 12, y, "accepted", "dim")
    yield f'<path class="bad" d="M{_LEFT + 96} {y - 8}l8 8m0 -8l-8 8"/>'
    yield _draw_text(_LEFT + 112, y, "denied: revoked", "dim")
    yield f'<path class="acknowledged" d="M{_LEFT + 242} {y - 9}l5 9h-10z"/>'
    yield _draw_text(_LEFT + 254, y, "acknowledged by the sidecar", "dim")


def _write_caption(outcome: RevocationOutcome) -> tuple[str, str]:
    """Return the figures under the picture. A call counts by when it began."""
    denied = [lane.first_denied_ms for lane in outcome.lanes if lane.first_denied_ms is not None]
    answered_ms = (outcome.times.answered_ns - outcome.times.commit_ns) / NS_PER_MS
    after = sum(lane.began_after_acknowledgement for lane in outcome.lanes)
    wrong = sum(lane.accepted_after_acknowledgement for lane in outcome.lanes)
    last = f"by {max(denied):.1f} ms after the commit" if denied else "nowhere"
    return (
        f"Every service denied the revoked token: {last}. `revoke` returned after "
        f"{answered_ms:.1f} ms."
        if len(denied) == len(outcome.lanes)
        else f"Denied at {len(denied)} of {len(outcome.lanes)} services: {last}.",
        f"Calls with it that began after the acknowledgements: {after}, of which {wrong} accepted.",
    )
