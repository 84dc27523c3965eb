"""The demo's SVG shows every call in reach, and nothing that a page would have to fetch."""

from typing import cast
from xml.etree import ElementTree as ET

from rescind.client.admin import RevocationDetails
from rescind_lab.demo import svg, timeline
from rescind_lab.demo.calls import MeasuredCall
from rescind_lab.demo.single_revocation import RevocationOutcome
from rescind_lab.demo.system import OTHER, REVOKED
from rescind_lab.demo.timeline import RevocationTimes

MS = 1_000_000
COMMIT = 10_000 * MS


def call(at_ms: float, token: str, status: int = 200) -> MeasuredCall:
    """Return a call to `a<b`, so many milliseconds after the commit."""
    began_ns = COMMIT + round(at_ms * MS)
    return MeasuredCall(
        "a<b", token, began_ns, began_ns + MS, status, "" if status == 200 else "revoked"
    )


def outcome(*calls: MeasuredCall) -> RevocationOutcome:
    """Return what the demo would have measured."""
    times = RevocationTimes(COMMIT, COMMIT + 5 * MS, {"a<b": COMMIT + 6 * MS})
    lanes = timeline.build_lanes(calls, times, services=("a<b",), revoked=REVOKED)
    return RevocationOutcome(
        cast("RevocationDetails", {}), times, calls, lanes, timeline.check_claims(lanes)
    )


def marks(picture: str, kind: str) -> int:
    """Count the marks of a kind in the rows, without the legend's one."""
    elements = ET.fromstring(picture).iter()  # noqa: S314 - our own text
    return sum(each.get("class") == kind for each in elements) - 1


def test_each_call_in_reach_has_its_mark() -> None:
    picture = svg.draw(
        outcome(
            call(-19, REVOKED),
            call(-21, REVOKED),  # the picture reaches 20 ms to either side
            call(8, REVOKED, 401),
            call(12, REVOKED, 401),
            call(-3, OTHER),
            call(3, OTHER),
        )
    )
    assert [marks(picture, kind) for kind in ("good", "bad", "acknowledged")] == [3, 2, 1]
    assert "Every service denied the revoked token: by 8.0 ms" in picture
    assert "after the acknowledgements: 2, of which 0 accepted" in picture


def test_an_accepted_call_after_the_acknowledgement_is_counted() -> None:
    picture = svg.draw(outcome(call(-1, REVOKED), call(8, REVOKED), call(1, OTHER)))
    assert "after the acknowledgements: 1, of which 1 accepted" in picture
    assert "Denied at 0 of 1 services: nowhere" in picture


def test_the_picture_needs_no_other_file_and_has_both_schemes() -> None:
    picture = svg.draw(outcome(call(-1, REVOKED), call(2, REVOKED, 401), call(1, OTHER)))
    assert picture.count("http") == 1, "the namespace alone"
    assert "prefers-color-scheme: dark" in picture
    assert "<script" not in picture
    assert "a&lt;b" in picture
