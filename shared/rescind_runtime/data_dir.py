"""The data directory: where `rescind up` keeps what survives, and `DIR/env`, which names it all.

`DIR/env` holds `KEY=VALUE` lines, quoted as a shell would, readable by its owner alone. Settings
that the environment lacks come from it, so that every command finds the system of this machine.
"""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from rescind.errors import RescindError


class DataDirectoryError(RescindError):
    """Say what is wrong with the data directory or with a file in it."""


def locate(environ: Mapping[str, str]) -> Path:
    """Return RESCIND_DATA, or `rescind` in the user's data folder (XDG base directories)."""
    if named := environ.get("RESCIND_DATA"):
        return Path(named).expanduser().absolute()
    if shared := environ.get("XDG_DATA_HOME"):
        return Path(shared).absolute() / "rescind"
    return Path("~/.local/share/rescind").expanduser()


def read_env(directory: Path) -> dict[str, str]:
    """Return the settings in `DIR/env`: none when there is no such file."""
    path = directory / "env"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise DataDirectoryError(f"{path} cannot be read: {error}") from error
    return dict(_setting(path, line) for line in lines if line.strip() and line.strip()[0] != "#")


def write_env(directory: Path, settings: Mapping[str, str]) -> Path:
    """Replace `DIR/env` whole, mode 0600: it names secrets, and holds the password of NATS."""
    text = "".join(f"{key}={shlex.quote(setting)}\n" for key, setting in settings.items())
    return write_private(directory / "env", text)


def write_private(path: Path, text: str) -> Path:
    """Put a file there in one step, mode 0600: a reader sees the old one or the new one."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    # O_EXCL: somebody else's file or link of that name is never written through.
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    return fresh.replace(path)


def _setting(path: Path, line: str) -> tuple[str, str]:
    key, equals, quoted = line.strip().partition("=")
    try:
        words = shlex.split(quoted)
    except ValueError:
        words = ["", ""]  # an open quote: not one word either
    if not equals or len(words) > 1:
        raise DataDirectoryError(f"{path}: not a KEY=VALUE line: the one that begins with {key!r}")
    return key.strip(), "".join(words)
