"""The generation table's file: one sidecar for each socket, a new table for each instance.

The lock is a file of its own, `<socket>.lock`: a lock on the table would be lost at its rename.
"""

import fcntl
import mmap
import os
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from rescind.core.generation_table import DEFAULT_SLOTS, Writer, inspect, size_bytes
from rescind.core.posture import STRICT, Posture
from rescind.errors import RescindError, TableError

MAX_PATH = 107
"""The most bytes in the path of a Unix socket: `sun_path` has 108, with a nul."""

_MODE = 0o640


class SidecarRunningError(RescindError):
    """Raised when the socket already has a sidecar."""


class SocketPathError(RescindError):
    """Raised when the configured path of the socket cannot be used."""

    def __init__(self, socket: Path, problem: str) -> None:
        super().__init__(f"the socket {socket} cannot be used: {problem}. Correct RESCIND_SOCKET")


class TableFile:
    """The file of the generation table beside a socket."""

    def __init__(
        self,
        socket: Path,
        *,
        boot: bytes,
        posture: Posture = STRICT,
        slots: int = DEFAULT_SLOTS,
    ) -> None:
        self._socket = socket
        self._boot = boot
        self._posture = posture
        self._slots = slots
        self._writer: Writer | None = None

    @property
    def _path(self) -> Path:
        return self._socket.with_suffix(".table")

    @contextmanager
    def locked(self) -> Generator[None]:
        """Lock the socket for this process, for the block.

        Raises SidecarRunningError or SocketPathError.
        """
        _require_usable(self._socket)
        try:
            self._socket.parent.mkdir(parents=True, exist_ok=True)
            lock_file = self._socket.with_suffix(".lock").open("ab")
        except OSError as error:
            raise SocketPathError(self._socket, _describe_error(error)) from error
        with lock_file as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise SidecarRunningError(
                    f"another sidecar serves {self._socket}: stop it, "
                    "or give this one a socket of its own with RESCIND_SOCKET"
                ) from error
            yield

    def begin(self, instance: bytes) -> Writer:
        """End the leases of the current table, and replace it with a new, empty one.

        Raises SocketPathError.
        """
        try:
            return self._begin(instance)
        except OSError as error:
            problem = f"its table cannot be written: {_describe_error(error)}"
            raise SocketPathError(self._socket, problem) from error

    def _begin(self, instance: bytes) -> Writer:
        self._end_leases()
        fresh = self._path.with_suffix(f".table-{instance.hex()}")
        descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL, _MODE)
        try:
            size = size_bytes(self._slots)
            # Reserve the pages now: here a full disk is an error, later it would be a SIGBUS.
            os.posix_fallocate(descriptor, 0, size)
            words = memoryview(mmap.mmap(descriptor, size)).cast("Q")
        except OSError:
            fresh.unlink()
            raise
        finally:
            os.close(descriptor)
        self._writer = Writer(
            words, instance=instance, boot=self._boot, slots=self._slots, posture=self._posture
        )
        fresh.replace(self._path)
        return self._writer

    def retire(self) -> None:
        """End the leases of the table, and delete its file."""
        self._end_leases()
        self._path.unlink(missing_ok=True)

    def _end_leases(self) -> None:
        """Zero the deadlines of our own table, and of a table that a killed sidecar left behind."""
        if self._writer is not None:
            self._writer.retire()
            self._writer = None
        try:
            descriptor = os.open(self._path, os.O_RDWR)
        except FileNotFoundError:
            return
        with os.fdopen(descriptor, "r+b") as file:
            if os.fstat(descriptor).st_size:
                with mmap.mmap(file.fileno(), 0) as mapped:
                    _zero(mapped)


def _require_usable(path: Path) -> None:
    """Raise SocketPathError if the path cannot be a socket's, or is that of another file."""
    if path.name in {"", ".."} or path.suffix in {".table", ".lock"}:
        raise SocketPathError(path, "expected a file's name, such as search.sock")
    length = len(os.fsencode(path))
    if length > MAX_PATH:
        raise SocketPathError(path, f"it has {length} bytes, and Linux allows {MAX_PATH}")
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise SocketPathError(path, _describe_error(error)) from error
    # Only a socket that a killed sidecar left behind is ever replaced, and no other file.
    if not stat.S_ISSOCK(mode):
        raise SocketPathError(path, "another file has that name already")


def _describe_error(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _zero(mapped: mmap.mmap) -> None:
    with memoryview(mapped) as octets, octets.cast("Q") as words:
        try:
            instance, boot, slots = inspect(words)
        except TableError:
            return  # no reader accepts it either
        Writer(words, instance=instance, boot=boot, slots=slots).retire()
