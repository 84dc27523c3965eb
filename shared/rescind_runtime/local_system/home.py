"""The directory of one system on this machine: locked, private, with a short path for sockets.

DIR/lock         held by every process of the run, so that it is free only when all are gone
DIR/env          settings for the other commands      DIR/logs/    one file a process
DIR/postgres/  DIR/nats/                              DIR/run/     sockets; empty between runs
"""

import asyncio
import contextlib
import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

from rescind_runtime.data_dir import DataDirectoryError

_SOCKET_PATH_BYTES = 107  # sun_path in unix(7), less the closing zero
_LAST_RUN_DEADLINE_S = 20.0  # for a killed run's Postgres to write its last checkpoint
_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Home:
    """A locked data directory. Children inherit `lock`, and keep it too."""

    directory: Path
    sockets: Path
    lock: int

    def log(self, name: str) -> Path:
        """Return the log file of the process with this name."""
        return self.directory / "logs" / f"{name}.log"

    def folder(self, name: str) -> Path:
        """Return a private folder in the directory, creating it if it is missing."""
        path = self.directory / name
        path.mkdir(mode=0o700, exist_ok=True)
        return path


@contextlib.asynccontextmanager
async def locked(directory: Path, *, longest_socket: int) -> AsyncGenerator[Home]:
    """Lock the directory for the block. Raises DataDirectoryError if another run holds it.

    The path is absolute. `longest_socket` is the length of the longest socket name that must fit
    (bytes). Sockets that a killed process left are removed before and after the block: no process
    can listen on them while this process holds the lock.
    """
    descriptor = _open(directory)
    try:
        await _lock(descriptor, directory)
        sockets = _socket_folder(directory, longest_socket)
        _empty(sockets)
        sockets.mkdir(mode=0o700)
        try:
            yield Home(directory, sockets, descriptor)
        finally:
            _empty(sockets)
    finally:
        os.close(descriptor)


async def _lock(descriptor: int, directory: Path) -> None:
    """Lock the directory; wait only for the rest of a run whose first process is dead."""
    try:
        async with asyncio.timeout(_LAST_RUN_DEADLINE_S):
            while not _try_lock(descriptor):
                if (owner := _living_owner(descriptor)) is not None:
                    raise DataDirectoryError(
                        f"{directory} is in use by another `rescind up` (pid {owner}). "
                        "Stop that one, or name another directory with --data."
                    )
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        raise DataDirectoryError(
            f"processes of an earlier run still hold {directory}/lock. "
            f"`fuser {directory}/lock` lists them; stop them, or name another directory."
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)


def _open(directory: Path) -> int:
    try:
        for folder in (directory, directory / "logs"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DataDirectoryError(
            f"the data directory {directory} cannot be used: {error.strerror}. "
            "Name another with --data or RESCIND_DATA."
        ) from error


def _living_owner(descriptor: int) -> str | None:
    owner = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
    if not owner.isdigit():
        return None
    try:
        state = (
            Path("/proc", owner, "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
        )
    except OSError:
        return None
    return None if state in "ZX" else owner  # a zombie holds no lock


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _socket_folder(directory: Path, longest_socket: int) -> Path:
    """Return `DIR/run`, or a short name for it in the temporary folder when DIR is deep."""
    name = hashlib.sha256(os.fsencode(directory)).hexdigest()[:12]
    short = Path(tempfile.gettempdir(), f"rescind-{os.geteuid()}-{name}")
    for folder in (directory / "run", short):
        if len(os.fsencode(folder)) + 1 + longest_socket <= _SOCKET_PATH_BYTES:
            return folder
    raise DataDirectoryError(
        f"{directory} is too deep: a socket path has at most {_SOCKET_PATH_BYTES} bytes. "
        "Name a shorter directory with --data, or use shorter service names."
    )


def _empty(sockets: Path) -> None:
    """Remove the folder and what a killed process left in it, but no other user's."""
    with contextlib.suppress(FileNotFoundError):
        status = sockets.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            raise DataDirectoryError(f"{sockets} is in the way and is not ours: remove it.")
        shutil.rmtree(sockets)
