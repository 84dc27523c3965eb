"""The environment of a scene: the system of `rescind up`, services, and an agent.

Each service runs beside one of the sidecars. Everything is in a temporary directory, which is
deleted afterwards. The services and the agent are processes of their own. The agent calls every
service with two tokens until the scene is over.
"""

import asyncio
import contextlib
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

from rescind.client.admin import AsyncAdmin
from rescind.client.settings import read_token
from rescind.core import times
from rescind.core.secret import Secret
from rescind_lab import scene
from rescind_lab.demo import calls, service
from rescind_lab.demo.calls import AgentConfig, MeasuredCall
from rescind_runtime import clock
from rescind_runtime.local_system import stack
from rescind_runtime.local_system.stack import Plan, Reach, System
from rescind_runtime.processes import child_process
from rescind_runtime.processes.child_process import Child, Program

SERVICES = ("search", "mail", "billing")
REVOKED, OTHER = "revoked", "other"

_PERIOD_S = 0.005  # 200 calls a second at each service, the two tokens in turn
_TTL_S = 600
_READY_DEADLINE_S = 30.0


@dataclass(frozen=True, slots=True)
class Stage:
    """A running system, and its plan."""

    plan: Plan
    system: System

    def admin(self, *, timeout_s: float = 10) -> AsyncAdmin:
        """Return a client with the admin token of the system."""
        return AsyncAdmin(
            self.system.authority, read_token(self.system.admin_token_file), timeout_s=timeout_s
        )


@dataclass(frozen=True, slots=True)
class Pair:
    """The agent's two tokens: their secrets by name, and the id of the one to revoke."""

    secrets: Mapping[str, Secret]
    revoked_id: str


@contextlib.asynccontextmanager
async def running(
    environ: Mapping[str, str],
    *,
    show_step: Callable[[str], None],
    reach: Reach = stack.directly,
    **settings: str,
) -> AsyncGenerator[Stage]:
    """Run the system during the block.

    `settings` are environment variables of each of its processes.
    """
    with scene.folder("demo") as directory:
        neutral = scene.without_settings(environ)
        plan = Plan(
            directory=directory,
            services=SERVICES,
            port=0,
            environ=neutral | settings,
            reach=reach,
        )
        async with stack.running(plan, progress=show_step) as system:
            yield Stage(plan, system)


async def issue(admin: AsyncAdmin) -> Pair:
    """Issue the two tokens of an agent."""
    issued = {
        name: await admin.issue(
            subject=f"agent:{name}", kind="agent", scopes=[service.SCOPE], ttl=_TTL_S
        )
        for name in (REVOKED, OTHER)
    }
    secrets = {name: each.token for name, each in issued.items() if each.token}
    return Pair(secrets, issued[REVOKED].token_id)


@dataclass(frozen=True, slots=True)
class Traffic:
    """Calls in progress: the URLs of the services and, after the block, the `made` calls."""

    services: Mapping[str, str]
    made: list[MeasuredCall]


@contextlib.asynccontextmanager
async def calling(
    stage: Stage, secrets: Mapping[str, Secret], *, show_step: Callable[[str], None]
) -> AsyncGenerator[Traffic]:
    """Call every service with these tokens in turn, during the block.

    An agent process makes the calls. The block fails as soon as a process ends that should not.
    """
    made: list[MeasuredCall] = []
    async with AsyncExitStack() as processes:
        show_step("starting three services and who calls them")
        services = await _services(stage, processes)
        urls = {name: url for name, (_, url) in services.items()}
        config = AgentConfig(
            services=urls,
            tokens={name: secret.reveal() for name, secret in secrets.items()},
            period_s=_PERIOD_S,
            report=stage.system.directory / "calls",
        )
        agent = await _agent(stage, config, processes)
        parts = [*stage.system.children, agent, *(child for child, _ in services.values())]
        async with _watched(replace(stage.system, children=parts)):
            show_step("calling")
            yield Traffic(urls, made)
        await agent.stop()
        made.extend(calls.read(config.report))


def boottime_ns(moment: str) -> int:
    """Convert a wall-clock time of this host (ISO 8601) to CLOCK_BOOTTIME, by reading both now."""
    before_ns = clock.boottime_ns()
    wall_us = clock.wall_us()
    now_ns = (before_ns + clock.boottime_ns()) // 2
    return now_ns - (wall_us - times.parse_rfc3339(moment)) * times.NS_PER_US


async def _services(stage: Stage, processes: AsyncExitStack) -> dict[str, tuple[Child, str]]:
    """Start one service beside each sidecar; return the child and its URL."""
    started = {
        sidecar.service: await processes.enter_async_context(
            child_process.running(
                _program(
                    stage, "service", sidecar.service, name=sidecar.service, socket=sidecar.socket
                )
            )
        )
        for sidecar in stage.system.sidecars
    }
    urls = {
        name: await child.ready(deadline_s=_READY_DEADLINE_S) for name, child in started.items()
    }
    return {name: (child, str(urls[name]["url"])) for name, child in started.items()}


async def _agent(stage: Stage, config: AgentConfig, processes: AsyncExitStack) -> Child:
    """Start the agent, and return it when each service has accepted each token."""
    path = stage.system.directory / "agent-config"
    calls.write_config(path, config)
    program = _program(stage, "agent", str(path), name="agent")
    agent = await processes.enter_async_context(child_process.running(program))
    await agent.ready(deadline_s=_READY_DEADLINE_S)
    return agent


def _program(stage: Stage, module: str, *arguments: str, name: str, socket: str = "") -> Program:
    directory = stage.system.directory
    return Program(
        name=f"the demo's {name}",
        command=[sys.executable, "-P", "-m", f"rescind_lab.demo.{module}", *arguments],
        directory=directory,
        log=directory / "logs" / f"demo-{name}.log",
        environment={
            **stage.plan.environ,
            "RESCIND_DATA": str(directory),
            "RESCIND_SOCKET": socket,
        },
        announces=True,
    )


@contextlib.asynccontextmanager
async def _watched(system: System) -> AsyncGenerator[None]:
    """Fail the block as soon as a process ends that should not."""
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(system.watch())
        yield
        watching.cancel()
