"""The demo claims only what it measured."""

from dataclasses import replace

import pytest

from rescind_lab.demo import timeline
from rescind_lab.demo.calls import MeasuredCall
from rescind_lab.demo.timeline import RevocationTimes

MS = 1_000_000
MOMENTS = RevocationTimes(
    commit_ns=100 * MS, answered_ns=104 * MS, acknowledged_ns={"search": 105 * MS}
)


def call(began_ms: float, *, token: str = "revoked", reason: str = "") -> MeasuredCall:  # noqa: S107 a name
    began_ns = round((100 + began_ms) * MS)
    status = 401 if reason else 200
    return MeasuredCall("search", token, began_ns, began_ns + MS, status, reason)


GOOD = [
    call(-5),
    call(2),
    call(6, reason="revoked"),
    call(-4, token="other"),
    call(7, token="other"),
]


def holds(calls: list[MeasuredCall], times: RevocationTimes = MOMENTS) -> list[bool]:
    lanes = timeline.build_lanes(calls, times, services=["search"], revoked="revoked")
    return [claim.holds for claim in timeline.check_claims(lanes)]


def test_every_claim_holds_for_a_correct_revocation() -> None:
    (lane,) = timeline.build_lanes(GOOD, MOMENTS, services=["search"], revoked="revoked")
    assert holds(GOOD) == [True, True, True]
    assert (lane.last_accepted_ms, lane.first_denied_ms, lane.acknowledged_ms) == (2, 6, 5)


def test_a_call_that_began_after_the_acknowledgement_and_was_accepted_breaks_the_claim() -> None:
    assert holds([*GOOD, call(5.1)])[1] is False


def test_a_call_that_began_before_the_acknowledgement_may_still_be_accepted() -> None:
    assert holds([*GOOD, call(4.9)])[1] is True


def test_nothing_is_claimed_about_what_was_not_measured() -> None:
    assert holds([each for each in GOOD if each.began_ns < 105 * MS])[:2] == [False, False]
    assert holds(GOOD, replace(MOMENTS, acknowledged_ns={}))[1] is False
    assert holds([each for each in GOOD if each.token == "revoked"])[2] is False


@pytest.mark.parametrize("reason", ["revoked", "no_lease"])
def test_one_denial_of_the_other_token_breaks_its_claim(reason: str) -> None:
    assert holds([*GOOD, call(3, token="other", reason=reason)])[2] is False


def test_a_denial_for_another_reason_does_not_count_as_a_revocation() -> None:
    assert holds([*GOOD, call(8, reason="no_lease")])[0] is False
