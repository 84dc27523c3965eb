"""Facts and claims about each agent after a narrow and a kill, from measured calls. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rescind.core.times import NS_PER_MS
from rescind_lab.demo.agents.agent_tree import FAMILY, Agent, is_hit
from rescind_lab.demo.calls import MeasuredCall
from rescind_lab.demo.timeline import Assertion

_REVOKED, _LACKING = "revoked", "insufficient_scope"
_UNAUTHENTICATED, _CONFLICT = 401, 409


@dataclass(frozen=True, slots=True)
class Moment:
    """A command, its commit and the arrival of its receipt (CLOCK_BOOTTIME in ns)."""

    commit_ns: int
    receipt_ns: int
    revocation_id: str


@dataclass(frozen=True, slots=True)
class Refusals:
    """The HTTP statuses of two delegations: by a killed agent, and by the rogue's live parent."""

    delegation: int
    again: int


@dataclass(frozen=True, slots=True)
class AgentLane:
    """The results of one agent. Times are in ms after the commit; None if it did not happen.

    Fields with "after" count calls that began after the receipt of the command. `stream_ms` is when
    the agent's stream was ended, after the kill.
    """

    agent: str
    generation: int
    hit: bool
    calls: int
    denied: int
    narrowed_ms: float | None
    narrowed_after: int
    narrowed_accepted_after: int
    elsewhere_after: int
    elsewhere_denied_after: int
    revoked_ms: float | None
    killed_after: int
    killed_accepted_after: int
    reasons_after_kill: tuple[str, ...]
    stream_ms: float | None


def lanes(
    calls: Sequence[MeasuredCall],
    ended_ns: Mapping[str, int | None],
    narrowed: Moment,
    killed: Moment,
    *,
    narrowed_at: str,
) -> tuple[AgentLane, ...]:
    """Summarise the calls of each agent; a call counts by when it began."""
    return tuple(
        _lane(
            agent,
            [call for call in calls if call.token == agent.name],
            ended_ns[agent.name],
            narrowed,
            killed,
            narrowed_at=narrowed_at,
        )
        for agent in FAMILY
    )


def claims(
    lanes: Sequence[AgentLane], refusals: Refusals, *, narrowed_at: str
) -> tuple[Assertion, ...]:
    """Return the claims, and whether the measurement confirms each.

    A claim about something that was not measured does not hold.
    """
    hit = [lane for lane in lanes if lane.hit]
    spared = [lane for lane in lanes if not lane.hit]
    began = sum(lane.killed_after for lane in hit)
    streams_ms = [lane.stream_ms for lane in hit if lane.stream_ms is not None]
    longest = f"{max(streams_ms):.0f} ms" if streams_ms else "no time that was measured"
    return (
        Assertion(
            f"narrowed: the rogue and what came of it did nothing at {narrowed_at} any more",
            all(lane.narrowed_after > 0 and not lane.narrowed_accepted_after for lane in hit),
        ),
        Assertion(
            "and went on elsewhere without a denial",
            all(lane.elsewhere_after > 0 and not lane.elsewhere_denied_after for lane in hit),
        ),
        Assertion(
            f"killed: {began} calls of theirs began after the receipt, everywhere; 0 were accepted",
            all(_denied_after_kill(lane) for lane in hit),
        ),
        Assertion(
            f"their {len(hit)} idle streams were broken off within {longest} of the commit",
            len(streams_ms) == len(hit) and min(streams_ms) > 0,
        ),
        Assertion(
            "a dead agent hands nothing on, and its live maker cannot make it again",
            (refusals.delegation, refusals.again) == (_UNAUTHENTICATED, _CONFLICT),
        ),
        Assertion(
            f"the {len(spared)} innocents went on without a single denial, their streams open",
            all(_undisturbed(lane) for lane in spared),
        ),
    )


def _denied_after_kill(lane: AgentLane) -> bool:
    return (
        lane.killed_after > 0
        and not lane.killed_accepted_after
        and lane.reasons_after_kill == (_REVOKED,)
    )


def _undisturbed(lane: AgentLane) -> bool:
    return lane.calls > 0 and not lane.denied and lane.stream_ms is None


def _lane(
    agent: Agent,
    calls: Sequence[MeasuredCall],
    ended_ns: int | None,
    narrowed: Moment,
    killed: Moment,
    *,
    narrowed_at: str,
) -> AgentLane:
    between = [c for c in calls if narrowed.receipt_ns < c.began_ns < killed.commit_ns]
    there = [call for call in between if call.service == narrowed_at]
    elsewhere = [call for call in between if call.service != narrowed_at]
    after = [call for call in calls if call.began_ns > killed.receipt_ns]
    return AgentLane(
        agent=agent.name,
        generation=agent.generation,
        hit=is_hit(agent),
        calls=len(calls),
        denied=sum(not call.accepted for call in calls),
        narrowed_ms=_first_ms(calls, _LACKING, narrowed),
        narrowed_after=len(there),
        narrowed_accepted_after=sum(call.accepted for call in there),
        elsewhere_after=len(elsewhere),
        elsewhere_denied_after=sum(not call.accepted for call in elsewhere),
        revoked_ms=_first_ms(calls, _REVOKED, killed),
        killed_after=len(after),
        killed_accepted_after=sum(call.accepted for call in after),
        reasons_after_kill=tuple(sorted({call.reason for call in after if call.reason})),
        stream_ms=None if ended_ns is None else (ended_ns - killed.commit_ns) / NS_PER_MS,
    )


def _first_ms(calls: Sequence[MeasuredCall], reason: str, moment: Moment) -> float | None:
    began = [call.began_ns for call in calls if call.reason == reason]
    return (min(began) - moment.commit_ns) / NS_PER_MS if began else None
