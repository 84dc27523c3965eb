"""Compute facts and claims about each agent after narrowing and kill, from calls. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rescind.core.times import NS_PER_MS
from rescind_lab.demo.agents.agent_tree import AGENTS, Agent, is_hit
from rescind_lab.demo.calls import MeasuredCall
from rescind_lab.demo.timeline import MeasuredClaim

_REVOKED, _LACKING = "revoked", "insufficient_scope"
_UNAUTHENTICATED, _CONFLICT = 401, 409


@dataclass(frozen=True, slots=True)
class CommandTimes:
    """When a command was committed, and when its receipt arrived (CLOCK_BOOTTIME in ns)."""

    commit_ns: int
    receipt_ns: int
    revocation_id: str


@dataclass(frozen=True, slots=True)
class DelegationStatuses:
    """The HTTP statuses of two delegations: by a killed agent, and by the rogue's parent."""

    by_killed: int
    by_parent: int


@dataclass(frozen=True, slots=True)
class AgentLane:
    """The results of one agent. Times are in ms after the commit; None if it did not happen.

    Fields with "after" count calls that began after the receipt of the command. `stream_ms` is when
    the agent's stream ended, in ms after the commit of the kill.
    """

    agent: str
    depth: int
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


def build_lanes(
    calls: Sequence[MeasuredCall],
    ended_ns: Mapping[str, int | None],
    narrowed: CommandTimes,
    killed: CommandTimes,
    *,
    narrowed_at: str,
) -> tuple[AgentLane, ...]:
    """Summarise the calls of each agent; a call counts by when it began."""
    return tuple(
        _build_lane(
            agent,
            [call for call in calls if call.token == agent.name],
            ended_ns[agent.name],
            narrowed,
            killed,
            narrowed_at=narrowed_at,
        )
        for agent in AGENTS
    )


def check_claims(
    lanes: Sequence[AgentLane], statuses: DelegationStatuses, *, narrowed_at: str
) -> tuple[MeasuredClaim, ...]:
    """Return the claims, and whether the measurement confirms each.

    A claim about something that was not measured does not hold.
    """
    hit = [lane for lane in lanes if lane.hit]
    others = [lane for lane in lanes if not lane.hit]
    narrowed = sum(lane.narrowed_after for lane in hit)
    narrowed_accepted = sum(lane.narrowed_accepted_after for lane in hit)
    killed = sum(lane.killed_after for lane in hit)
    killed_accepted = sum(lane.killed_accepted_after for lane in hit)
    streams_ms = [lane.stream_ms for lane in hit if lane.stream_ms is not None]
    longest = f"{max(streams_ms):.0f} ms" if streams_ms else "a time that was not measured"
    return (
        MeasuredClaim(
            f"narrowed: the rogue and its descendants began {narrowed} calls to {narrowed_at} "
            f"after the receipt; {narrowed_accepted} were accepted",
            all(lane.narrowed_after > 0 and not lane.narrowed_accepted_after for lane in hit),
        ),
        MeasuredClaim(
            "narrowed: the other services denied none of their calls",
            all(lane.elsewhere_after > 0 and not lane.elsewhere_denied_after for lane in hit),
        ),
        MeasuredClaim(
            f"killed: they began {killed} calls after the receipt; {killed_accepted} were accepted",
            all(_is_denied_after_kill(lane) for lane in hit),
        ),
        MeasuredClaim(
            f"killed: their {len(hit)} idle streams ended within {longest} of the commit",
            len(streams_ms) == len(hit) and min(streams_ms) > 0,
        ),
        MeasuredClaim(
            "a killed agent cannot delegate, and the rogue's parent cannot delegate to it again",
            (statuses.by_killed, statuses.by_parent) == (_UNAUTHENTICATED, _CONFLICT),
        ),
        MeasuredClaim(
            f"the {len(others)} other agents: no call was denied, and no stream ended",
            all(_is_unaffected(lane) for lane in others),
        ),
    )


def _is_denied_after_kill(lane: AgentLane) -> bool:
    return (
        lane.killed_after > 0
        and not lane.killed_accepted_after
        and lane.reasons_after_kill == (_REVOKED,)
    )


def _is_unaffected(lane: AgentLane) -> bool:
    return lane.calls > 0 and not lane.denied and lane.stream_ms is None


def _build_lane(
    agent: Agent,
    calls: Sequence[MeasuredCall],
    ended_ns: int | None,
    narrowed: CommandTimes,
    killed: CommandTimes,
    *,
    narrowed_at: str,
) -> AgentLane:
    between = [c for c in calls if narrowed.receipt_ns < c.began_ns < killed.commit_ns]
    at_narrowed = [call for call in between if call.service == narrowed_at]
    at_others = [call for call in between if call.service != narrowed_at]
    after = [call for call in calls if call.began_ns > killed.receipt_ns]
    return AgentLane(
        agent=agent.name,
        depth=agent.depth,
        hit=is_hit(agent),
        calls=len(calls),
        denied=sum(not call.accepted for call in calls),
        narrowed_ms=_first_ms(calls, _LACKING, narrowed),
        narrowed_after=len(at_narrowed),
        narrowed_accepted_after=sum(call.accepted for call in at_narrowed),
        elsewhere_after=len(at_others),
        elsewhere_denied_after=sum(not call.accepted for call in at_others),
        revoked_ms=_first_ms(calls, _REVOKED, killed),
        killed_after=len(after),
        killed_accepted_after=sum(call.accepted for call in after),
        reasons_after_kill=tuple(sorted({call.reason for call in after if call.reason})),
        stream_ms=None if ended_ns is None else (ended_ns - killed.commit_ns) / NS_PER_MS,
    )


def _first_ms(calls: Sequence[MeasuredCall], reason: str, command: CommandTimes) -> float | None:
    began = [call.began_ns for call in calls if call.reason == reason]
    return (min(began) - command.commit_ns) / NS_PER_MS if began else None
