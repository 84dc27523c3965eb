"""Each claim of `rescind demo agents` fails if the measurement does not confirm it."""

import pytest

from rescind_lab.demo.agents.agent_tree import AGENTS, is_hit
from rescind_lab.demo.agents.findings import (
    CommandTimes,
    DelegationStatuses,
    build_lanes,
    check_claims,
)
from rescind_lab.demo.calls import MeasuredCall

MS = 1_000_000
NARROWED = CommandTimes(1_000 * MS, 1_010 * MS, "rev_1")
KILLED = CommandTimes(2_000 * MS, 2_010 * MS, "rev_2")
GOOD = DelegationStatuses(401, 409)


def calls() -> list[MeasuredCall]:
    """Return one correct call of each agent, at each service, in each phase."""
    measured: list[MeasuredCall] = []
    for agent in AGENTS:
        for service in ("search", "mail"):
            for began_ms, phase in ((500, "before"), (1_500, "between"), (2_500, "after")):
                reason = ""
                if is_hit(agent) and phase == "after":
                    reason = "revoked"
                elif is_hit(agent) and phase == "between" and service == "mail":
                    reason = "insufficient_scope"
                status = 200 if not reason else 401
                measured.append(MeasuredCall(service, agent.name, began_ms * MS, 0, status, reason))
    return measured


def ended() -> dict[str, int | None]:
    return {agent.name: 2_005 * MS if is_hit(agent) else None for agent in AGENTS}


def held(
    measured: list[MeasuredCall],
    ended_ns: dict[str, int | None] | None = None,
    statuses: DelegationStatuses = GOOD,
) -> list[bool]:
    lanes = build_lanes(measured, ended_ns or ended(), NARROWED, KILLED, narrowed_at="mail")
    return [claim.holds for claim in check_claims(lanes, statuses, narrowed_at="mail")]


def changed(place: tuple[str, str, int], status: int, reason: str) -> list[MeasuredCall]:
    agent, service, began_ms = place
    return [
        MeasuredCall(each.service, each.token, each.began_ns, 0, status, reason)
        if (each.token, each.service, each.began_ns) == (agent, service, began_ms * MS)
        else each
        for each in calls()
    ]


def test_every_claim_holds_for_a_correct_run() -> None:
    assert held(calls()) == [True] * 6


@pytest.mark.parametrize(
    ("place", "status", "reason", "broken"),
    [
        (("reader", "mail", 1_500), 200, "", {0}),
        (("reader", "search", 1_500), 403, "insufficient_scope", {1}),
        (("fetcher", "search", 2_500), 200, "", {2}),
        (("fetcher", "search", 2_500), 503, "no_lease", {2}),
        (("scribe", "mail", 2_500), 401, "revoked", {5}),
    ],
)
def test_one_wrong_call_breaks_its_claim(
    place: tuple[str, str, int], status: int, reason: str, broken: set[int]
) -> None:
    found = held(changed(place, status, reason))
    assert {number for number, holds in enumerate(found) if not holds} == broken


def test_without_calls_after_the_kill_nothing_is_claimed_about_it() -> None:
    assert held([each for each in calls() if each.began_ns < 2_000 * MS])[2] is False


def test_a_stream_that_continued_ended_early_or_was_not_to_end_breaks_its_claim() -> None:
    assert held(calls(), ended() | {"reader": None})[3] is False
    assert held(calls(), ended() | {"reader": 1_900 * MS})[3] is False
    assert held(calls(), ended() | {"scribe": 2_005 * MS})[5] is False


def test_a_killed_agent_that_can_delegate_breaks_its_claim() -> None:
    assert held(calls(), statuses=DelegationStatuses(201, 409))[4] is False
    assert held(calls(), statuses=DelegationStatuses(401, 201))[4] is False
