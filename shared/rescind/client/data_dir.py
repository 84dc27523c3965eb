"""The data directory of `rescind up`: its path, and the settings in its file `env`.

`DIR/env` contains `KEY=VALUE` lines with shell quoting. `rescind_runtime.data_dir` writes it.
"""

import shlex
from collections.abc import Mapping
from pathlib import Path

from rescind.errors import RescindError

DEFAULT = Path("~/.local/share/rescind")


class DataDirectoryError(RescindError):
    """Raised for a data directory, or a file in it, that cannot be used."""


def locate(environ: Mapping[str, str]) -> Path:
    """Return RESCIND_DATA, or `rescind` in the user's data folder (XDG base directories).

    Raises DataDirectoryError for a user without a home directory.
    """
    if data := environ.get("RESCIND_DATA"):
        return Path(data).expanduser().absolute()
    if data_home := environ.get("XDG_DATA_HOME"):
        return Path(data_home).absolute() / "rescind"
    try:
        return DEFAULT.expanduser()
    except RuntimeError as error:  # the user is not in the passwd file, and HOME is not set
        raise DataDirectoryError(
            "this user has no home directory: set RESCIND_DATA to the data directory"
        ) from error


def read_env(directory: Path) -> dict[str, str]:
    """Return the settings in `DIR/env`; none if there is no such file.

    Raises DataDirectoryError for a file that cannot be read.
    """
    path = directory / "env"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise DataDirectoryError(f"{path} cannot be read: {error}") from error
    return dict(
        _parse_setting(path, line) for line in lines if line.strip() and line.strip()[0] != "#"
    )


def _parse_setting(path: Path, line: str) -> tuple[str, str]:
    key, equals, quoted = line.strip().partition("=")
    try:
        words = shlex.split(quoted)
    except ValueError:
        words = ["", ""]  # an open quote: not one word either
    if not equals or len(words) > 1:
        raise DataDirectoryError(f"{path}: not a KEY=VALUE line: the one that begins with {key!r}")
    return key.strip(), "".join(words)
