"""The demo: an agent with two tokens calls three services; one token is revoked; who noticed when?

Everything is real: the servers of `rescind up`, three services as processes of their own with the
middleware and a sidecar each, and the agent as another. Nothing that is printed is assumed.
"""

import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rescind.client.admin import AsyncAdmin, Document
from rescind.client.admin.settings import read_token
from rescind_cli import stack
from rescind_cli.scenes import calls, service, timeline
from rescind_cli.scenes.acknowledgements import Acknowledgements
from rescind_cli.scenes.calls import Call, Orders, SceneError
from rescind_cli.scenes.timeline import Claim, Lane, Moments
from rescind_cli.stack import System
from rescind_runtime import bus, clock
from rescind_runtime.embedded import children
from rescind_runtime.embedded.children import Child, Program

SERVICES = ("search", "mail", "billing")
REVOKED, OTHER = "revoked", "other"

_BEFORE_S = 2.0
_AFTER_S = 1.0
_PERIOD_S = 0.005  # 200 calls a second at each service, the two tokens in turn
_TTL_S = 600
_READY_DEADLINE_S = 30.0
_MOST_PATH_BYTES = 75  # a socket's path has at most 107, and its name needs the rest
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the demo measured."""

    revocation: Document
    moments: Moments
    calls: tuple[Call, ...]
    lanes: tuple[Lane, ...]
    claims: tuple[Claim, ...]

    @property
    def ok(self) -> bool:
        """Whether everything that is claimed was measured."""
        return all(claim.holds for claim in self.claims)


async def play(environ: Mapping[str, str], *, say: Callable[[str], None]) -> Outcome:
    """Run the demo in a directory that is gone afterwards. Raises RescindError in plain words."""
    with tempfile.TemporaryDirectory(prefix="rescind-demo-") as folder:
        directory = Path(folder)
        if len(os.fsencode(directory)) > _MOST_PATH_BYTES:
            raise SceneError(
                f"the temporary folder {tempfile.gettempdir()} is too deep for a socket: "
                "set TMPDIR to a shorter one"
            )
        plan = stack.Plan(
            directory=directory,
            services=SERVICES,
            port=0,
            # The user's own system has no part in this.
            environ={key: text for key, text in environ.items() if not key.startswith("RESCIND_")},
        )
        async with stack.running(plan, progress=say) as system:
            say("starting three services and their agent")
            return await _story(plan, system, say)


async def _story(plan: stack.Plan, system: System, say: Callable[[str], None]) -> Outcome:
    async with AsyncExitStack() as cast:
        admin = await cast.enter_async_context(
            AsyncAdmin(system.authority, read_token(system.admin_token_file))
        )
        issued = {
            name: await admin.issue(
                subject=f"agent:{name}", kind="agent", scopes=[service.SCOPE], ttl=_TTL_S
            )
            for name in (REVOKED, OTHER)
        }
        tokens = {name: each.token.reveal() for name, each in issued.items() if each.token}
        services = await _services(plan, system, cast)
        orders = Orders(
            services={name: url for name, (_, url) in services.items()},
            tokens=tokens,
            period_s=_PERIOD_S,
            report=system.directory / "calls",
        )
        agent = await _agent(plan, system, orders, cast)
        parts = [*system.children, agent, *(child for child, _ in services.values())]
        async with _watched(replace(system, children=parts)):
            say("the agent is calling")
            await asyncio.sleep(_BEFORE_S)
            revocation, moments = await _revoke(system, admin, issued[REVOKED].token_id)
            await asyncio.sleep(_AFTER_S)
        await agent.stop()
        return _outcome(revocation, moments, calls.read(orders.report))


async def _services(
    plan: stack.Plan, system: System, cast: AsyncExitStack
) -> dict[str, tuple[Child, str]]:
    """Start one service beside each sidecar; return the child and its URL."""
    started = {
        sidecar.service: await cast.enter_async_context(
            children.running(
                _program(plan, system, "service", name=sidecar.service, socket=sidecar.socket)
            )
        )
        for sidecar in system.sidecars
    }
    urls = {
        name: await child.ready(deadline_s=_READY_DEADLINE_S) for name, child in started.items()
    }
    return {name: (child, str(urls[name]["url"])) for name, child in started.items()}


async def _agent(plan: stack.Plan, system: System, orders: Orders, cast: AsyncExitStack) -> Child:
    """Start the agent; return it when each token was accepted at each service."""
    told = system.directory / "orders"
    calls.write_orders(told, orders)
    program = _program(plan, system, "agent", str(told), name="agent")
    agent = await cast.enter_async_context(children.running(program))
    await agent.ready(deadline_s=_READY_DEADLINE_S)
    return agent


def _program(
    plan: stack.Plan, system: System, module: str, *arguments: str, name: str, socket: str = ""
) -> Program:
    return Program(
        name=f"the demo's {name}",
        command=[sys.executable, "-P", "-m", f"rescind_cli.scenes.{module}", *arguments],
        directory=system.directory,
        log=system.directory / "logs" / f"demo-{name}.log",
        environment={
            **plan.environ,
            "RESCIND_DATA": str(system.directory),
            "RESCIND_SOCKET": socket,
        },
        announces=True,
    )


@contextlib.asynccontextmanager
async def _watched(system: System) -> AsyncGenerator[None]:
    """Fail in the block as soon as a part ends that should not."""
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(system.watch())
        yield
        watching.cancel()


async def _revoke(system: System, admin: AsyncAdmin, token_id: str) -> tuple[Document, Moments]:
    """Revoke a token, and note when everybody knew."""
    standing = await admin.fleet()
    epoch, seq = int(standing["epoch"]), int(standing["seq"]) + 1
    instances = {bytes.fromhex(each.instance): each.service for each in system.sidecars}
    async with bus.connection(system.nats, name="rescind-demo") as client:
        acknowledgements = Acknowledgements(client, instances)
        await acknowledgements.listen(epoch=epoch, seq=seq)
        revocation = await admin.revoke(f"token:{token_id}", reason="the demo")
        answered_ns = clock.boottime_ns()
        if (revocation["epoch"], revocation["seq"]) != (epoch, seq):
            raise SceneError("somebody else revoked something in the demo's own system")
        heard = await acknowledgements.of(epoch=epoch, seq=seq)
    return revocation, Moments(
        commit_ns=_boottime_ns(datetime.fromisoformat(revocation["committed_at"])),
        answered_ns=answered_ns,
        acknowledged_ns=heard,
    )


def _boottime_ns(moment: datetime) -> int:
    """Place a time of this host's wall clock on CLOCK_BOOTTIME, by reading both now."""
    before_ns = clock.boottime_ns()
    wall_us = clock.wall_us()
    now_ns = (before_ns + clock.boottime_ns()) // 2
    return now_ns - (wall_us - (moment - _EPOCH) // timedelta(microseconds=1)) * 1_000


def _outcome(revocation: Document, moments: Moments, made: tuple[Call, ...]) -> Outcome:
    lanes = timeline.lanes(made, moments, services=SERVICES, revoked=REVOKED)
    return Outcome(revocation, moments, made, lanes, timeline.claims(lanes))
