"""The sidecar's generation table, mapped read-only into this process."""

import mmap
import os
from pathlib import Path
from typing import Self

from rescind.core import generation_table
from rescind.errors import TableError


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
