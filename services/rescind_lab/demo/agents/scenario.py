"""Run the scenario of a rogue agent and its descendants: narrow it, and then kill it.

Nothing is simulated, as in the demo. Only the operator sends commands. No agent is notified.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

from rescind.client.admin import AsyncBearer, ProblemError, RevocationDetails
from rescind_lab.demo import system
from rescind_lab.demo.agents import agent_tree, findings, streams
from rescind_lab.demo.agents.agent_tree import ROGUE
from rescind_lab.demo.agents.findings import AgentLane, CommandTimes, DelegationStatuses
from rescind_lab.demo.calls import MeasuredCall
from rescind_lab.demo.timeline import MeasuredClaim
from rescind_lab.errors import LabError
from rescind_runtime import clock

NARROWED = "mail"
STREAMING = "search"

_BEFORE_S = 1.5
_BETWEEN_S = 1.5
_AFTER_S = 1.5
_TIMEOUT_S = 15.0


@dataclass(frozen=True, slots=True)
class AgentsOutcome:
    """The outcome of the scenario."""

    narrowed: CommandTimes
    killed: CommandTimes
    calls: tuple[MeasuredCall, ...]
    lanes: tuple[AgentLane, ...]
    claims: tuple[MeasuredClaim, ...]

    @property
    def ok(self) -> bool:
        """Return True if the measurement confirms every claim."""
        return all(claim.holds for claim in self.claims)


async def run(environ: Mapping[str, str], *, show_step: Callable[[str], None]) -> AgentsOutcome:
    """Run the scenario in a directory that is deleted afterwards. Raises RescindError."""
    async with (
        system.run_system(environ, show_step=show_step) as demo,
        demo.admin(timeout_s=_TIMEOUT_S) as admin,
    ):
        show_step("an orchestrator delegates to agents, which delegate further")
        secrets = await agent_tree.issue_tokens(admin, demo.system.authority)
        async with (
            system.run_agent(demo, secrets, show_step=show_step) as agent,
            streams.open_streams(agent.services[STREAMING], secrets) as opened,
        ):
            await asyncio.sleep(_BEFORE_S)
            show_step(f"{ROGUE} is narrowed")
            narrowed = _read_command_times(
                await admin.narrow(
                    f"chain:{agent_tree.subject_of(ROGUE)}",
                    remove=[f"work:{NARROWED}"],
                    reason="it writes to all customers",
                    wait=True,
                )
            )
            await asyncio.sleep(_BETWEEN_S)
            show_step(f"{ROGUE} is killed")
            subject = agent_tree.subject_of(ROGUE)
            killed = _read_command_times(
                await admin.kill(subject, reason="it did not stop", wait=True)
            )
            async with (
                AsyncBearer(demo.system.authority, secrets["fetcher"]) as killed_agent,
                AsyncBearer(demo.system.authority, secrets["orchestrator"]) as parent,
            ):
                statuses = await _request_delegations(killed_agent, parent)
            await asyncio.sleep(_AFTER_S)
            ended_ns = {each.agent: each.ended_ns for each in opened}
    calls = tuple(agent.calls)
    lanes = findings.build_lanes(calls, ended_ns, narrowed, killed, narrowed_at=NARROWED)
    claims = findings.check_claims(lanes, statuses, narrowed_at=NARROWED)
    return AgentsOutcome(narrowed, killed, calls, lanes, claims)


def _read_command_times(answer: RevocationDetails) -> CommandTimes:
    answered_ns = clock.boottime_ns()
    if answer["receipt"] is None:
        raise LabError("no receipt arrived in time")
    return CommandTimes(
        system.to_boottime_ns(answer["receipt"]["committed_at"]), answered_ns, answer["id"]
    )


async def _request_delegations(
    killed_agent: AsyncBearer, parent: AsyncBearer
) -> DelegationStatuses:
    """Request two delegations, and return their statuses.

    A killed agent requests the first. The rogue's parent, which is not killed, requests the second,
    to the rogue.
    """
    return DelegationStatuses(
        by_killed=await _request_delegation(
            killed_agent, f"{agent_tree.subject_of('fetcher')}/heir"
        ),
        by_parent=await _request_delegation(parent, agent_tree.subject_of(ROGUE)),
    )


async def _request_delegation(bearer: AsyncBearer, subject: str) -> int:
    """Request a delegation to a subject, and return the status of the answer."""
    try:
        await bearer.delegate(subject=subject)
    except ProblemError as problem:
        return problem.status
    return HTTPStatus.CREATED
