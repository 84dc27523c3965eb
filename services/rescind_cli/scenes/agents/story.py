"""The story: an agent goes rogue with what it delegated. It is narrowed, and then killed.

Everything is real, as in the demo. Nobody but the operator is asked, and no agent is told.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rescind.client.admin import AsyncAdmin, AsyncBearer, Document, ProblemError
from rescind_cli.scenes import stage
from rescind_cli.scenes.agents import family, findings, streams
from rescind_cli.scenes.agents.family import ROGUE
from rescind_cli.scenes.agents.findings import Lane, Moment, Refusals
from rescind_cli.scenes.calls import Call, SceneError
from rescind_cli.scenes.timeline import Claim
from rescind_runtime import clock

NARROWED = "mail"
STREAMING = "search"

_BEFORE_S = 1.5
_BETWEEN_S = 1.5
_AFTER_S = 1.5
_TIMEOUT_S = 15.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was measured."""

    narrowed: Moment
    killed: Moment
    calls: tuple[Call, ...]
    lanes: tuple[Lane, ...]
    claims: tuple[Claim, ...]

    @property
    def ok(self) -> bool:
        """Whether everything that is claimed was measured."""
        return all(claim.holds for claim in self.claims)


async def play(environ: Mapping[str, str], *, say: Callable[[str], None]) -> Outcome:
    """Run the story in a directory that is gone afterwards. Raises RescindError in plain words."""
    async with (
        stage.running(environ, say=say) as here,
        here.admin(timeout_s=_TIMEOUT_S) as admin,
    ):
        say("an orchestrator makes agents, which make others")
        secrets = await family.born(admin, here.system.authority)
        async with (
            stage.calling(here, secrets, say=say) as traffic,
            streams.opened(traffic.services[STREAMING], secrets) as opened,
        ):
            await asyncio.sleep(_BEFORE_S)
            say(f"{ROGUE} is narrowed")
            narrowed = _moment(
                await admin.narrow(
                    f"chain:{family.subject_of(ROGUE)}",
                    remove=[f"work:{NARROWED}"],
                    reason="it writes to everybody",
                    wait=True,
                )
            )
            await asyncio.sleep(_BETWEEN_S)
            say(f"{ROGUE} is killed")
            subject = family.subject_of(ROGUE)
            killed = _moment(await admin.kill(subject, reason="it did not stop", wait=True))
            async with AsyncBearer(here.system.authority, secrets["fetcher"]) as fetcher:
                refusals = await _refusals(admin, fetcher)
            await asyncio.sleep(_AFTER_S)
            ended_ns = {each.agent: each.ended_ns for each in opened}
    calls = tuple(traffic.made)
    lanes = findings.lanes(calls, ended_ns, narrowed, killed, narrowed_at=NARROWED)
    claims = findings.claims(lanes, refusals, narrowed_at=NARROWED)
    return Outcome(narrowed, killed, calls, lanes, claims)


def _moment(done: Document) -> Moment:
    answered_ns = clock.boottime_ns()
    if done["state"] != "enforced":
        raise SceneError("there was no receipt in time")
    return Moment(stage.boottime_ns(done["receipt"]["committed_at"]), answered_ns, done["id"])


async def _refusals(admin: AsyncAdmin, dead: AsyncBearer) -> Refusals:
    """Try to go on as a rogue would, and as an operator who did not hear of it."""
    try:
        await dead.delegate(subject=f"{family.subject_of('fetcher')}/heir")
        handed_on = 201
    except ProblemError as problem:
        handed_on = problem.status
    try:
        await admin.issue(subject=family.subject_of(ROGUE), kind="agent")
        issued = 201
    except ProblemError as problem:
        issued = problem.status
    return Refusals(handed_on, issued)
