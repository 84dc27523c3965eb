"""The whole system on this machine, as children of this process, inside one directory.

Embedded Postgres, NATS and Valkey (or the user's own, if a setting names them), the schema, the
authority, and one sidecar for each service. All processes end together, whichever dies first: the
kernel signals a child that outlives its parent, and the end of a child stops all the others.
"""

import asyncio
import contextlib
import os
import re
import socket
import sys
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from rescind.core import well_known_scopes
from rescind.core.secret import Secret
from rescind.errors import RescindError
from rescind_runtime import data_dir, settings
from rescind_runtime.local_system import home, nats, postgres, valkey
from rescind_runtime.local_system.home import Home
from rescind_runtime.processes import child_process
from rescind_runtime.processes.child_process import Child, Program

DEFAULT_PORT = 7473

_MIGRATE_DEADLINE_S = 60.0
_READY_DEADLINE_S = 60.0
_CREDENTIAL_TTL_S = 365 * 24 * 3600
# No child needs these variables, so no child gets them.
_WITHHELD = (
    *("RESCIND_ADMIN_TOKEN", "RESCIND_TOKEN"),
    # The system serves on loopback only.
    *("RESCIND_HTTP_CA_FILE", "RESCIND_HTTP_CERT_FILE", "RESCIND_HTTP_KEY_FILE"),
    *("RESCIND_GRPC_CA_FILE", "RESCIND_GRPC_CERT_FILE", "RESCIND_GRPC_KEY_FILE"),
)

_LINK_VARIABLE = re.compile(
    "RESCIND_(?:ALLOW_PLAINTEXT|(NATS|REDIS|POSTGRES)_(?:CA|CERT|KEY|CREDS|NKEY|PASSWORD)_FILE)"
)

Reach = Callable[[str, Mapping[str, str]], Mapping[str, str]]
"""A function from a service and its sidecar's environment to the environment to use instead."""


def directly(_service: str, environment: Mapping[str, str]) -> Mapping[str, str]:
    """Return the environment unchanged: nothing lies between a sidecar and the rest."""
    return environment


class StackError(RescindError):
    """Raised when the system cannot start here; the text contains what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The parts of a system to start, and where."""

    directory: Path
    services: Sequence[str]  # one sidecar each
    port: int = DEFAULT_PORT  # the authority's, on loopback; 0 takes any that is free
    environ: Mapping[str, str]  # the user's; it may name the user's own servers
    reach: Reach = directly  # a scene may route a sidecar through its own wire


@dataclass(frozen=True, slots=True)
class LocalSidecar:
    """A sidecar that is ready, with the addresses for its service."""

    service: str
    instance: str
    socket: str
    http: str
    pid: int
    grpc: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """The running system. Its URLs carry passwords; only files and programs should see them."""

    directory: Path
    authority: str
    admin_token_file: Path
    postgres: str
    nats: str
    redis: str
    sidecars: Sequence[LocalSidecar]
    pids: Mapping[str, int | None]  # None: a server of the user's own
    children: Sequence[Child]

    async def watch(self) -> None:
        """Wait until cancelled. Raises StackError as soon as a child ends unexpectedly."""
        async with asyncio.TaskGroup() as group:
            for child in self.children:
                group.create_task(_raise_when_ended(child))


@contextlib.asynccontextmanager
async def running(
    plan: Plan, *, progress: Callable[[str], None] = lambda _: None
) -> AsyncGenerator[System]:
    """Run the system for the block, and write `DIR/env`; from the main thread only.

    `progress` is called with the name of each step. Every error is a RescindError whose text
    contains what failed, why (the end of its log), and what to do.
    """
    _require_free(plan.port)
    names = (valkey.SOCKET, *(f"{service}.sock" for service in plan.services))
    longest = max(postgres.MAX_SOCKET_PATH, *(1 + len(os.fsencode(name)) for name in names))
    async with AsyncExitStack() as block:
        place = await block.enter_async_context(
            home.locked(plan.directory.absolute(), longest_socket=longest)
        )
        system = await _start(plan, place, block, progress)
        data_dir.write_env(place.directory, _env_file(place, system, plan.environ))
        yield system


async def _start(
    plan: Plan, place: Home, block: AsyncExitStack, progress: Callable[[str], None]
) -> System:
    urls, servers = await _servers(plan, place, block, progress)
    own = frozenset(urls) - frozenset(servers)
    common = _common_settings(plan, place, urls, own=own)
    progress("starting the authority")
    program = _python(
        place,
        "rescind_authority",
        "migrate-and-serve",  # it also makes the edge key and the first admin token
        name="authority",
        environment=common
        | {"RESCIND_POSTGRES_DSN": urls["postgres"], "RESCIND_HTTP": f"127.0.0.1:{plan.port}"},
    )
    authority = await block.enter_async_context(child_process.running(program))
    deadline_s = _MIGRATE_DEADLINE_S + _READY_DEADLINE_S
    url = _text(await authority.ready(deadline_s=deadline_s), "http")
    progress("starting the sidecars")
    await _credentials(plan, place, url)
    sidecars = await _sidecars(plan, place, block, common | {"RESCIND_URL": url})
    return System(
        directory=place.directory,
        authority=url,
        admin_token_file=place.directory / "admin-token",
        sidecars=list(sidecars),
        pids={"authority": authority.pid}
        | {name: servers[name].pid if name in servers else None for name in urls},
        children=[*servers.values(), authority, *sidecars.values()],
        **urls,
    )


async def _servers(
    plan: Plan, place: Home, block: AsyncExitStack, progress: Callable[[str], None]
) -> tuple[dict[str, str], dict[str, Child]]:
    """Return the URL of every server, and the child of each that is not the user's own."""
    urls: dict[str, str] = {}
    started: dict[str, Child] = {}
    for name, variable, embedded in (
        ("nats", "RESCIND_NATS_URL", nats.running),
        ("redis", "RESCIND_REDIS_URL", valkey.running),
        ("postgres", "RESCIND_POSTGRES_DSN", postgres.running),
    ):
        if own := settings.secret(plan.environ, variable):
            urls[name] = own
            continue
        progress(f"starting {name}")
        server = await block.enter_async_context(embedded(place))
        urls[name], started[name] = server.url, server.child
    return urls, started


async def _sidecars(
    plan: Plan, place: Home, block: AsyncExitStack, environment: Mapping[str, str]
) -> dict[LocalSidecar, Child]:
    """Start all sidecars, then wait for all of them: most of a start is importing."""
    processes: list[Child] = []
    without_grpc = {name: text for name, text in environment.items() if name != "RESCIND_GRPC"}
    for service in plan.services:
        # The user names one address for gRPC: the first sidecar serves there.
        inherited = environment if service == plan.services[0] else without_grpc
        program = _python(
            place,
            "rescind_sidecar",
            name=f"sidecar-{service}",
            environment={
                **plan.reach(service, inherited),
                "RESCIND_SERVICE": service,
                "RESCIND_SOCKET": str(place.sockets / f"{service}.sock"),
                "RESCIND_HTTP": "127.0.0.1:0",
                "RESCIND_CREDENTIAL_FILE": str(_credential(place, service)),
            },
        )
        processes.append(await block.enter_async_context(child_process.running(program)))

    def signal_all() -> None:
        for process in processes:
            process.send_stop_signal()

    block.callback(signal_all)  # runs first, so that they stop in parallel
    return {_sidecar(await each.ready(deadline_s=_READY_DEADLINE_S)): each for each in processes}


async def _credentials(plan: Plan, place: Home, url: str) -> None:
    """Issue each service a credential for its sidecar: a new one at each start, for a year."""
    # imported here, so that `up --help` is quick
    from rescind.client.admin import AsyncAdmin, Grant, SidecarBinding  # noqa: PLC0415

    admin_token = (place.directory / "admin-token").read_text(encoding="ascii").strip()
    async with AsyncAdmin(url, Secret(admin_token)) as admin:
        for service in plan.services:
            grant = Grant(
                subject=f"service:{service}",
                kind="service",
                scopes=(well_known_scopes.VERIFY,),
                audience=(well_known_scopes.AUDIENCE,),
            )
            grant["ttl"] = _CREDENTIAL_TTL_S
            # The posture in the sidecars' environment, if one is set.
            posture = plan.environ.get("RESCIND_POSTURE", "strict")
            grant["sidecars"] = SidecarBinding(posture=posture)
            issued = await admin.issue(**grant)
            if issued.token is None:
                raise StackError(f"no credential for {service}: start it again")
            data_dir.write_private(_credential(place, service), issued.token.reveal() + "\n")


def _credential(place: Home, service: str) -> Path:
    return place.folder("credentials") / service


async def _raise_when_ended(child: Child) -> None:
    await child.wait_ended()
    raise StackError(
        f"{child.failure()}\nThe rest was stopped with it; the data is kept. Start it again."
    )


def _common_settings(
    plan: Plan, place: Home, urls: Mapping[str, str], *, own: Collection[str]
) -> dict[str, str]:
    """Return the user's environment with the settings that all children share.

    A variable that the user set for something else must not reach a child by accident, so each
    one that the children rely on is set here or in `_start`.
    """
    inherited = {
        key: text
        for key, text in plan.environ.items()
        if key not in _WITHHELD and not _LINK_VARIABLE.fullmatch(key)
    }
    inherited.pop("RESCIND_POSTGRES_DSN", None)  # for the authority alone
    return (
        inherited
        | _links(plan.environ, own)
        | {
            "RESCIND_DATA": str(place.directory),
            "RESCIND_NATS_URL": urls["nats"],
            "RESCIND_REDIS_URL": urls["redis"],
            "RESCIND_ADMIN_TOKEN_FILE": str(place.directory / "admin-token"),
            "RESCIND_EDGE_KEY_FILE": str(place.directory / "edge-key"),
            "RESCIND_KEYRING_FILE": str(place.directory / "keyring"),
            "RESCIND_ROOT_KEY_FILE": str(place.directory / "root-key"),
            "RESCIND_TRUST_FILE": str(place.directory / "trust"),
        }
    )


def _links(environ: Mapping[str, str], own: Collection[str]) -> dict[str, str]:
    """Return the variables for the user's own servers, with absolute paths.

    For an embedded server they would require TLS that it does not have.
    """
    found = {
        each: text
        for each, text in environ.items()
        if text
        and (match := _LINK_VARIABLE.fullmatch(each))
        and (match[1] or "").lower() in {*own, ""}
    }
    return {
        each: str(Path(text).absolute()) if each.endswith("_FILE") else text
        for each, text in found.items()
    }


def _env_file(place: Home, system: System, environ: Mapping[str, str]) -> dict[str, str]:
    found = {
        "RESCIND_URL": system.authority,
        "RESCIND_ADMIN_TOKEN_FILE": str(system.admin_token_file),
        "RESCIND_POSTGRES_DSN": system.postgres,
        "RESCIND_NATS_URL": system.nats,
        "RESCIND_REDIS_URL": system.redis,
        "RESCIND_EDGE_KEY_FILE": str(place.directory / "edge-key"),
    }
    own = [name for name, pid in system.pids.items() if pid is None]
    found |= _links(environ, own)  # the commands read them from here
    if system.sidecars:
        found["RESCIND_SOCKET"] = system.sidecars[0].socket
    return found


def _python(
    place: Home, module: str, *arguments: str, name: str, environment: Mapping[str, str]
) -> Program:
    return Program(
        name=f"rescind {name.replace('-', ' ', 1)}",
        # -P: the directory it runs in is data, and never a place to import from.
        command=[sys.executable, "-P", "-m", module, *arguments],
        directory=place.directory,
        log=place.log(name),
        environment=environment,
        inherited=(place.lock,),
        announces=True,
    )


def _sidecar(facts: Mapping[str, object]) -> LocalSidecar:
    match facts:
        case {
            "service": str(service),
            "instance": str(instance),
            "socket": str(path),
            "http": str(http),
            "pid": int(pid),
        }:
            grpc = facts.get("grpc")
            served = grpc if isinstance(grpc, str) else None
            return LocalSidecar(service, instance, path, http, pid, served)
        case _:
            raise StackError(f"a sidecar's ready line lacks something: {dict(facts)}")


def _text(facts: Mapping[str, object], name: str) -> str:
    match facts.get(name):
        case str(text):
            return text
        case _:
            raise StackError(f"the authority's ready line has no {name!r}: {dict(facts)}")


def _require_free(port: int) -> None:
    """Raise StackError for a port that is taken, before anything starts."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise StackError(
                f"port {port} cannot be used ({error.strerror}). "
                "Name another with --port, or take any free one with --port 0."
            ) from error
