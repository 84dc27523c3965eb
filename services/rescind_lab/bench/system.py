# redis-py leaves types open:
# pyright: reportUnknownMemberType=false
"""The running system that the rows of the benchmark measure, with clients of its servers.

The servers are those of `rescind up`. The alternatives use the same servers, on the same machine.
"""

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TypeAlias

import asyncpg
import redis

from rescind.client.admin import AsyncAdmin
from rescind.client.settings import read_token
from rescind_lab import runner
from rescind_lab.errors import LabError
from rescind_runtime.local_system import stack
from rescind_runtime.local_system.stack import LocalSidecar, System
from rescind_runtime.processes import child_process
from rescind_runtime.processes.child_process import Child, Program

SUBJECT = "agent:bench"
SCOPE = "work:do"
SERVICES = ("search", "mail", "billing")

_TTL_S = 24 * 3600
_CONCURRENT_REQUESTS = 16
_READY_DEADLINE_S = 60.0

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


@dataclass(frozen=True, slots=True)
class BenchSystem:
    """The running system, clients of its servers, and the options of the run.

    `quick`: the rows measure only a few rounds.
    """

    system: System
    environ: Mapping[str, str]
    admin: AsyncAdmin
    postgres: Connection
    redis_port: int
    quick: bool
    show_step: Callable[[str], None]

    @property
    def sidecar(self) -> LocalSidecar:
        """Return the sidecar for rows that need only one."""
        return self.system.sidecars[0]

    def choose(self, *, quick: int, full: int) -> int:
        """Return `quick`, the smaller number, in a quick run, else `full`."""
        return quick if self.quick else full

    async def issue(self, count: int) -> list[str]:
        """Issue tokens at the authority, and return them."""
        return list((await self.issue_with_ids(count)).values())

    async def issue_with_ids(self, count: int) -> dict[str, str]:
        """Issue tokens at the authority, and return them by their ids."""
        limit = asyncio.Semaphore(_CONCURRENT_REQUESTS)

        async def issue_one() -> tuple[str, str]:
            async with limit:
                issued = await self.admin.issue(
                    subject=SUBJECT, kind="agent", scopes=[SCOPE], ttl=_TTL_S
                )
            if issued.token is None:
                raise LabError("the authority answered a new idempotency key with an old answer")
            return issued.token_id, issued.token.reveal()

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(issue_one()) for _ in range(count)]
        return dict(task.result() for task in tasks)

    async def stop_other_sidecars(self) -> None:
        """Stop every sidecar except the first."""
        for child in self.system.children:
            if child.pid in {each.pid for each in self.system.sidecars[1:]}:
                await child.stop()

    @contextlib.asynccontextmanager
    async def run_process(
        self, module: str, *arguments: str, **environment: str
    ) -> AsyncGenerator[tuple[Child, dict[str, object]]]:
        """Run `python -m module` for the block; yield the child and the facts of its ready line."""
        name = module.rpartition(".")[2]
        program = Program(
            name=f"the bench's {name}",
            command=[sys.executable, "-P", "-m", module, *arguments],
            directory=self.system.directory,
            log=self.system.directory / "logs" / f"bench-{name}-{'-'.join(arguments[1:])}.log",
            environment={
                **self.environ,
                "RESCIND_DATA": str(self.system.directory),
                "RESCIND_LOG": "console:warning",
                **environment,
            },
            announces=True,
        )
        async with child_process.running(program) as child:
            yield child, await child.ready(deadline_s=_READY_DEADLINE_S)


@contextlib.asynccontextmanager
async def run_system(
    environ: Mapping[str, str], *, quick: bool, sidecars: int, show_step: Callable[[str], None]
) -> AsyncGenerator[BenchSystem]:
    """Run the system in a directory that is deleted afterwards. Raises RescindError."""
    with runner.temporary_folder("bench") as directory:
        clean_environ = runner.remove_settings(environ)
        plan = stack.Plan(
            directory=directory, services=SERVICES[:sidecars], port=0, environ=clean_environ
        )
        async with stack.running(plan, progress=show_step) as system, AsyncExitStack() as clients:
            admin = await clients.enter_async_context(
                AsyncAdmin(system.authority, read_token(system.admin_token_file))
            )
            postgres = await asyncpg.connect(system.postgres)
            clients.push_async_callback(postgres.close)
            port = _open_tcp(system.redis)
            yield BenchSystem(system, clean_environ, admin, postgres, port, quick, show_step)


def find_free_ports(number: int) -> list[int]:
    """Return ports of loopback that are free now."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(number)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def _open_tcp(url: str) -> int:
    """Configure the embedded Valkey to listen on TCP too, on loopback, and return the port."""
    (port,) = find_free_ports(1)
    with contextlib.closing(redis.Redis.from_url(url)) as client:
        client.config_set("bind", "127.0.0.1")
        client.config_set("port", port)
    return port
