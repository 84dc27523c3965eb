"""The files of a fresh embedded Postgres, made once for each test process and then copied.

initdb costs a CPU second. `tests/integration/local_system/test_servers.py`, the pages for users and
the demos run it for themselves.
"""

import asyncio
import atexit
import shutil
import tempfile
from pathlib import Path

from rescind_runtime.local_system import home, postgres

_made: Path | None = None


async def lay(directory: Path) -> None:
    """Create a cluster under `directory`, where the embedded Postgres of a home expects it."""
    global _made  # noqa: PLW0603 - one for the process, as the docstring says
    if _made is None:
        _made = await _make()
    # cp keeps the owner: root may have handed the files over to another user.
    copying = await asyncio.create_subprocess_exec("cp", "-a", str(_made), str(directory))
    assert await copying.wait() == 0


def lay_blocking(directory: Path) -> None:
    """Do the same where no loop runs."""
    asyncio.run(lay(directory))


async def _make() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="rescind-test-postgres-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    async with (
        home.locked(folder, longest_socket=postgres.MAX_SOCKET_PATH) as place,
        postgres.running(place),
    ):
        pass
    return folder / "postgres"
