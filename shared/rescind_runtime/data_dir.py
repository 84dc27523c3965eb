"""The data directory: the persistent files of `rescind up`, and `DIR/env`, which names them.

`DIR/env` holds `KEY=VALUE` lines, quoted for a shell, readable by its owner alone. Settings that
the environment lacks come from it, so that every command finds the system of this machine.
"""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from rescind.client.data_dir import DataDirectoryError, locate, read_env

__all__ = ["DataDirectoryError", "PrivateFile", "locate", "read_env", "write_env", "write_private"]


def write_env(directory: Path, settings: Mapping[str, str]) -> Path:
    """Replace `DIR/env`, mode 0600: it names secrets, and holds the password of NATS."""
    text = "".join(f"{key}={shlex.quote(setting)}\n" for key, setting in settings.items())
    return write_private(directory / "env", text)


def write_private(path: Path, text: str) -> Path:
    """Write a file in one step, mode 0600: a reader sees the old file or the new one."""
    with PrivateFile(path) as file:
        file.put(text)
    return path


class PrivateFile:
    """A file of mode 0600 that `put` writes as a whole, or not at all.

    Entering raises OSError if the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        """Store the path; nothing is written yet."""
        self._path = path
        self._fresh = path.with_name(f".{path.name}.new")
        self._descriptor = -1

    def __enter__(self) -> Self:
        self._fresh.unlink(missing_ok=True)
        # O_EXCL: never write into a file or link of that name that another user made.
        self._descriptor = os.open(self._fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        return self

    def put(self, text: str) -> None:
        """Write the text, and move the file to its path. Raises OSError."""
        with os.fdopen(self._descriptor, "w", encoding="utf-8", closefd=False) as file:
            file.write(text)
            file.flush()
            os.fsync(self._descriptor)
        self._fresh.replace(self._path)
        _sync_directory(self._path.parent)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self._descriptor)
        self._fresh.unlink(missing_ok=True)


def _sync_directory(directory: Path) -> None:
    """Sync a directory, so that the names in it outlast a crash of the machine."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
