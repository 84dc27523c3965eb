"""Run the scenario of a rogue agent, and of the agents below it.

The agent is narrowed, and then killed. Everything is real, as in the demo. Only the operator acts.
No agent is notified.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

from rescind.client.admin import AsyncBearer, ProblemError, RevocationDetails
from rescind_lab.demo import environment
from rescind_lab.demo.agents import agent_tree, findings, streams
from rescind_lab.demo.agents.agent_tree import ROGUE
from rescind_lab.demo.agents.findings import AgentLane, Moment, Refusals
from rescind_lab.demo.calls import MeasuredCall
from rescind_lab.demo.timeline import Assertion
from rescind_lab.errors import SceneError
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

    narrowed: Moment
    killed: Moment
    calls: tuple[MeasuredCall, ...]
    lanes: tuple[AgentLane, ...]
    claims: tuple[Assertion, ...]

    @property
    def ok(self) -> bool:
        """Whether every claim was measured to hold."""
        return all(claim.holds for claim in self.claims)


async def play(environ: Mapping[str, str], *, show_step: Callable[[str], None]) -> AgentsOutcome:
    """Run the scenario in a directory that is deleted afterwards. Raises RescindError."""
    async with (
        environment.running(environ, show_step=show_step) as here,
        here.admin(timeout_s=_TIMEOUT_S) as admin,
    ):
        show_step("an orchestrator makes agents, which make others")
        secrets = await agent_tree.issue_tokens(admin, here.system.authority)
        async with (
            environment.calling(here, secrets, show_step=show_step) as traffic,
            streams.opened(traffic.services[STREAMING], secrets) as opened,
        ):
            await asyncio.sleep(_BEFORE_S)
            show_step(f"{ROGUE} is narrowed")
            narrowed = _moment(
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
            killed = _moment(await admin.kill(subject, reason="it did not stop", wait=True))
            async with (
                AsyncBearer(here.system.authority, secrets["fetcher"]) as killed_agent,
                AsyncBearer(here.system.authority, secrets["orchestrator"]) as parent,
            ):
                refusals = await _refusals(killed_agent, parent)
            await asyncio.sleep(_AFTER_S)
            ended_ns = {each.agent: each.ended_ns for each in opened}
    calls = tuple(traffic.made)
    lanes = findings.lanes(calls, ended_ns, narrowed, killed, narrowed_at=NARROWED)
    claims = findings.claims(lanes, refusals, narrowed_at=NARROWED)
    return AgentsOutcome(narrowed, killed, calls, lanes, claims)


def _moment(done: RevocationDetails) -> Moment:
    answered_ns = clock.boottime_ns()
    if done["receipt"] is None:
        raise SceneError("there was no receipt in time")
    return Moment(environment.boottime_ns(done["receipt"]["committed_at"]), answered_ns, done["id"])


async def _refusals(killed_agent: AsyncBearer, parent: AsyncBearer) -> Refusals:
    """Request two delegations, and return their statuses.

    A killed agent requests the first; the rogue's live parent requests the rogue again.
    """
    return Refusals(
        delegation=await _delegation(killed_agent, f"{agent_tree.subject_of('fetcher')}/heir"),
        again=await _delegation(parent, agent_tree.subject_of(ROGUE)),
    )


async def _delegation(bearer: AsyncBearer, subject: str) -> int:
    """Request a delegation to a subject, and return the status of the answer."""
    try:
        await bearer.delegate(subject=subject)
    except ProblemError as problem:
        return problem.status
    return HTTPStatus.CREATED
