"""The sidecar's generation table, mapped read-only into this process if it can be trusted."""

import mmap
import os
import platform
from pathlib import Path
from typing import Self

from rescind.client import clock
from rescind.client.transport import BlockingConnection
from rescind.core import generation_table
from rescind.core.generation_table import ORDERED_MACHINES
from rescind.errors import TableError
from rescind.wire.socket_protocol import Clock, Now


class MappedTable:
    """A mapped table. Processes forked from this one share it."""

    __slots__ = ("_inode", "_mapped", "_path", "boot", "instance", "words")

    def __init__(self, path: Path, mapped: mmap.mmap, inode: tuple[int, int]) -> None:
        self._path = path
        self._mapped = mapped
        self._inode = inode
        self.words: memoryview[int] = memoryview(mapped).cast("Q")
        self.instance, self.boot, _ = generation_table.inspect(self.words)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Map the table at a path. Raises TableError."""
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise TableError(f"the table {path} cannot be opened: {error.strerror}") from error
        try:
            status = os.fstat(descriptor)
            mapped = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise TableError(f"the table {path} cannot be mapped: {error}") from error
        finally:
            os.close(descriptor)
        try:
            return cls(path, mapped, (status.st_dev, status.st_ino))
        except ValueError as error:
            raise TableError(f"the table {path} is not made of words") from error

    def replaced(self) -> bool:
        """Return True if another table is at the path now, as after a restart of the sidecar."""
        try:
            status = self._path.stat()
        except OSError:
            return False  # the sidecar has stopped, and has no successor
        return (status.st_dev, status.st_ino) != self._inode


class OtherInstanceError(Exception):
    """Raised when the table belongs to another instance than the greeting."""


def trusted_table(
    path: Path, connection: BlockingConnection, *, deadline_s: float
) -> MappedTable | None:
    """Map the table if its deadlines mean the same here as in the sidecar (design 6.2).

    With another kernel, another time namespace or a network volume, their meaning differs.
    """
    # Pure Python cannot order two loads. On a machine that does not, checks use the socket.
    if platform.machine().lower() not in ORDERED_MACHINES:
        return None
    try:
        table = MappedTable.open(path.with_suffix(".table"))
    except TableError:
        return None
    greeting = connection.greeting
    if table.instance != greeting.instance:
        raise OtherInstanceError
    if not table.boot == greeting.boot == clock.boot_id():
        return None
    before_ns = clock.boottime_ns()
    response = connection.send(Clock(0), deadline_s=deadline_s)
    after_ns = clock.boottime_ns()
    same_clock = isinstance(response, Now) and before_ns <= response.boottime_ns <= after_ns
    return table if same_clock else None
