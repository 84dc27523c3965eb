"""The agents: an orchestrator, and the agents to which it and its descendants delegated."""

from collections.abc import Mapping
from dataclasses import dataclass

from rescind.client.admin import AsyncAdmin, AsyncBearer
from rescind.core.secret import Secret
from rescind_lab.demo.service import SCOPE
from rescind_lab.errors import LabError

_TTL_S = 600


@dataclass(frozen=True, slots=True)
class Agent:
    """One agent: its name, its subject, and the agent that delegated to it (None: the root)."""

    name: str
    subject: str
    depth: int
    parent: str | None = None


_ROOT = "agent:orchestrator"

AGENTS = (
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
    return next(agent.subject for agent in AGENTS if agent.name == name)


def is_hit(agent: Agent) -> bool:
    """Return True if an agent is the rogue or its descendant."""
    return f"{agent.subject}/".startswith(f"{subject_of(ROGUE)}/")


async def issue_tokens(admin: AsyncAdmin, authority: str) -> Mapping[str, Secret]:
    """Issue the root's token, delegate from agent to agent, and return the tokens by name."""
    secrets: dict[str, Secret] = {}
    for agent in AGENTS:
        if agent.parent is None:
            issued = await admin.issue(
                subject=agent.subject, kind="agent", scopes=[SCOPE], ttl=_TTL_S
            )
        else:
            async with AsyncBearer(authority, secrets[agent.parent]) as parent:
                issued = await parent.delegate(subject=agent.subject, scopes=[SCOPE])
        if issued.token is None:
            raise LabError("the authority answered a new idempotency key with an old answer")
        secrets[agent.name] = issued.token
    return secrets
