"""The system of a demo: the servers of `rescind up`, three services, and an agent.

Each service runs beside one of the sidecars. The services and the agent are separate processes. The
agent calls every service with each of its tokens in turn, until the demo ends. All files are in a
temporary directory, which is deleted afterwards.
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
from rescind_lab import runner
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
class DemoSystem:
    """A running system, and its plan."""

    plan: Plan
    system: System

    def admin(self, *, timeout_s: float = 10) -> AsyncAdmin:
        """Return a client with the admin token of the system."""
        return AsyncAdmin(
            self.system.authority, read_token(self.system.admin_token_file), timeout_s=timeout_s
        )


@dataclass(frozen=True, slots=True)
class AgentTokens:
    """The agent's two tokens: their secrets by name, and the id of the token to revoke."""

    secrets: Mapping[str, Secret]
    revoked_id: str


@contextlib.asynccontextmanager
async def run_system(
    environ: Mapping[str, str],
    *,
    show_step: Callable[[str], None],
    reach: Reach = stack.directly,
    **settings: str,
) -> AsyncGenerator[DemoSystem]:
    """Run the system during the block.

    `settings` are environment variables for each process of the system.
    """
    with runner.temporary_folder("demo") as directory:
        neutral = runner.remove_settings(environ)
        plan = Plan(
            directory=directory,
            services=SERVICES,
            port=0,
            environ=neutral | settings,
            reach=reach,
        )
        async with stack.running(plan, progress=show_step) as system:
            yield DemoSystem(plan, system)


async def issue_tokens(admin: AsyncAdmin) -> AgentTokens:
    """Issue the two tokens of an agent."""
    issued = {
        name: await admin.issue(
            subject=f"agent:{name}", kind="agent", scopes=[service.SCOPE], ttl=_TTL_S
        )
        for name in (REVOKED, OTHER)
    }
    secrets = {name: each.token for name, each in issued.items() if each.token}
    return AgentTokens(secrets, issued[REVOKED].token_id)


@dataclass(frozen=True, slots=True)
class AgentCalls:
    """The URLs of the services, and the agent's calls; `calls` is filled when the agent stops."""

    services: Mapping[str, str]
    calls: list[MeasuredCall]


@contextlib.asynccontextmanager
async def run_agent(
    demo: DemoSystem, secrets: Mapping[str, Secret], *, show_step: Callable[[str], None]
) -> AsyncGenerator[AgentCalls]:
    """Run an agent that calls every service with these tokens in turn, during the block.

    The block fails as soon as a process ends unexpectedly.
    """
    measured: list[MeasuredCall] = []
    async with AsyncExitStack() as processes:
        show_step("starting three services and an agent")
        services = await _start_services(demo, processes)
        urls = {name: url for name, (_, url) in services.items()}
        config = AgentConfig(
            services=urls,
            tokens={name: secret.reveal() for name, secret in secrets.items()},
            period_s=_PERIOD_S,
            report=demo.system.directory / "calls",
        )
        agent = await _start_agent(demo, config, processes)
        children = [*demo.system.children, agent, *(child for child, _ in services.values())]
        async with _watch(replace(demo.system, children=children)):
            show_step("calling the services")
            yield AgentCalls(urls, measured)
        await agent.stop()
        measured.extend(calls.read_calls(config.report))


def to_boottime_ns(moment: str) -> int:
    """Convert a wall-clock time of this host (RFC 3339) to CLOCK_BOOTTIME in ns.

    The offset between the two clocks is read at the call.
    """
    before_ns = clock.boottime_ns()
    wall_us = clock.wall_us()
    now_ns = (before_ns + clock.boottime_ns()) // 2
    return now_ns - (wall_us - times.parse_rfc3339(moment)) * times.NS_PER_US


async def _start_services(
    demo: DemoSystem, processes: AsyncExitStack
) -> dict[str, tuple[Child, str]]:
    """Start one service beside each sidecar, and return its process and URL by service."""
    started = {
        sidecar.service: await processes.enter_async_context(
            child_process.running(
                _build_program(
                    demo, "service", sidecar.service, name=sidecar.service, socket=sidecar.socket
                )
            )
        )
        for sidecar in demo.system.sidecars
    }
    urls = {
        name: await child.ready(deadline_s=_READY_DEADLINE_S) for name, child in started.items()
    }
    return {name: (child, str(urls[name]["url"])) for name, child in started.items()}


async def _start_agent(demo: DemoSystem, config: AgentConfig, processes: AsyncExitStack) -> Child:
    """Start the agent. Return when each service has accepted each token."""
    path = demo.system.directory / "agent-config"
    calls.write_config(path, config)
    program = _build_program(demo, "agent", str(path), name="agent")
    agent = await processes.enter_async_context(child_process.running(program))
    await agent.ready(deadline_s=_READY_DEADLINE_S)
    return agent


def _build_program(
    demo: DemoSystem, module: str, *arguments: str, name: str, socket: str = ""
) -> Program:
    directory = demo.system.directory
    return Program(
        name=f"the demo's {name}",
        command=[sys.executable, "-P", "-m", f"rescind_lab.demo.{module}", *arguments],
        directory=directory,
        log=directory / "logs" / f"demo-{name}.log",
        environment={
            **demo.plan.environ,
            "RESCIND_DATA": str(directory),
            "RESCIND_SOCKET": socket,
        },
        announces=True,
    )


@contextlib.asynccontextmanager
async def _watch(system: System) -> AsyncGenerator[None]:
    """Fail the block as soon as a process of the system ends."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(system.watch())
        yield
        task.cancel()
