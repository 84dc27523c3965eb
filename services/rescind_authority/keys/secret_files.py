"""Files of secrets: readable only by their owner, created once, never quoted."""

import fcntl
import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from rescind_authority.errors import KeyFileError

_KEY_BYTES = 32


def create(path: Path, text: str) -> bool:
    """Write a new file, mode 0600; return False if the file exists. Raises KeyFileError."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    except OSError as error:
        raise KeyFileError(f"{path} cannot be written: {error.strerror}") from error
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(descriptor)
    return True


def create_edge_key(path: Path) -> bool:
    """Create a file with an edge key; return False if the file exists."""
    return create(path, secrets.token_bytes(_KEY_BYTES).hex())


def read_key(path: Path) -> bytes:
    """Read one key of 32 bytes in hex. Raises KeyFileError."""
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except OSError as error:
        raise KeyFileError(f"the key {path} cannot be read: {error.strerror}") from error
    except ValueError:
        key = b""
    if len(key) != _KEY_BYTES:
        raise KeyFileError(f"{path} is not a key: expected 64 hex digits")
    return key


@contextmanager
def locked(path: Path) -> Generator[None]:
    """Lock a file against other processes of this host that use this lock.

    Raises KeyFileError.
    """
    lock_path = path.with_name(f".{path.name}.lock")
    try:
        descriptor = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise KeyFileError(f"{lock_path} cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def file_version(path: Path) -> tuple[int, int] | None:
    """Return a value that changes when a file is replaced or written.

    Returns None if there is no file, or if its status cannot be read.
    """
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino
