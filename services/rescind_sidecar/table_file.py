"""The generation table's file: one sidecar for each socket, a new table for each instance.

The lock is a file of its own, `<socket>.lock`: a lock on the table would go with the rename.
"""

import fcntl
import mmap
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from rescind.core.generations import DEFAULT_SLOTS, Writer, inspect, size_bytes
from rescind.core.posture import STRICT, Posture
from rescind.errors import RescindError, TableError

_MODE = 0o640


class SidecarRunningError(RescindError):
    """Say that the socket has its sidecar already."""


class TableFile:
    """Own the table beside a socket."""

    def __init__(
        self,
        socket: Path,
        *,
        boot: bytes,
        posture: Posture = STRICT,
        slots: int = DEFAULT_SLOTS,
    ) -> None:
        self._socket = socket
        self._path = socket.with_suffix(".table")
        self._lock_path = socket.with_suffix(".lock")
        self._boot = boot
        self._posture = posture
        self._slots = slots
        self._writer: Writer | None = None

    @contextmanager
    def locked(self) -> Generator[None]:
        """Hold the socket for this process. Raises SidecarRunningError."""
        with self._lock_path.open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise SidecarRunningError(
                    f"another sidecar serves {self._socket}: stop it, "
                    "or give this one a socket of its own with RESCIND_SOCKET"
                ) from error
            yield

    def begin(self, instance: bytes) -> Writer:
        """End the leases of the table that is there, and put a new, empty one in its place."""
        self._end_leases()
        fresh = self._path.with_suffix(f".table-{instance.hex()}")
        descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL, _MODE)
        try:
            size = size_bytes(self._slots)
            # Reserve the pages now: a full disk is an error here, and a SIGBUS later.
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
        """End the leases of the table, and take it away."""
        self._end_leases()
        self._path.unlink(missing_ok=True)

    def _end_leases(self) -> None:
        """Zero the deadlines of our own table, and of one that a killed sidecar left behind."""
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


def _zero(mapped: mmap.mmap) -> None:
    with memoryview(mapped) as octets, octets.cast("Q") as words:
        try:
            instance, boot, slots = inspect(words)
        except TableError:
            return  # no reader believes it either
        Writer(words, instance=instance, boot=boot, slots=slots).retire()
