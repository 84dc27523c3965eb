"""The agents: an orchestrator, two agents that it made, and the agents below those."""

from collections.abc import Mapping
from dataclasses import dataclass

from rescind.client.admin import AsyncAdmin, AsyncBearer
from rescind.core.secret import Secret
from rescind_lab.demo.service import SCOPE
from rescind_lab.errors import SceneError

_TTL_S = 600


@dataclass(frozen=True, slots=True)
class Agent:
    """One agent: its name in the scene, its subject, and its parent (None: an operator)."""

    name: str
    subject: str
    generation: int
    parent: str | None = None


_ROOT = "agent:orchestrator"

FAMILY = (
    Agent("orchestrator", _ROOT, 0),
    Agent("planner", f"{_ROOT}/planner", 1, "orchestrator"),
    Agent("scribe", f"{_ROOT}/planner/scribe", 2, "planner"),
    Agent("researcher", f"{_ROOT}/researcher", 1, "orchestrator"),
    Agent("reader", f"{_ROOT}/researcher/reader", 2, "researcher"),
    Agent("fetcher", f"{_ROOT}/researcher/reader/fetcher", 3, "reader"),
)
ROGUE = "researcher"


def subject_of(name: str) -> str:
    """Return the subject of an agent."""
    return next(agent.subject for agent in FAMILY if agent.name == name)


def is_hit(agent: Agent) -> bool:
    """Return True if an agent is the rogue, or descends from it."""
    return f"{agent.subject}/".startswith(f"{subject_of(ROGUE)}/")


async def issue_tokens(admin: AsyncAdmin, authority: str) -> Mapping[str, Secret]:
    """Delegate from agent to agent, each with its own token alone, and return their tokens."""
    secrets: dict[str, Secret] = {}
    for agent in FAMILY:
        if agent.parent is None:
            issued = await admin.issue(
                subject=agent.subject, kind="agent", scopes=[SCOPE], ttl=_TTL_S
            )
        else:
            async with AsyncBearer(authority, secrets[agent.parent]) as parent:
                issued = await parent.delegate(subject=agent.subject, scopes=[SCOPE])
        if issued.token is None:
            raise SceneError("the authority took a new key for an old one")
        secrets[agent.name] = issued.token
    return secrets
