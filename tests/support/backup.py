"""A backup of Postgres, made and restored while Postgres is down."""

import shutil
import subprocess
from pathlib import Path

from tests.support.cluster import Cluster


class Backup:
    """Copies of the database's directory."""

    def __init__(self, installation: Cluster, directory: Path) -> None:
        self._postgres = installation.parts["postgres"]
        self._data = installation.data
        self._copy = directory / "backup"

    async def make(self) -> None:
        """Copy the directory; Postgres is down meanwhile."""
        await self._postgres.stop()
        _copy(self._data, self._copy)
        await self._postgres.start()

    async def restore(self) -> None:
        """Restore the copy: all later writes are lost."""
        await self._postgres.stop()
        shutil.rmtree(self._data)
        _copy(self._copy, self._data)
        await self._postgres.start()


def _copy(source: Path, target: Path) -> None:
    """Copy with the owners: Postgres may run as another user than this test."""
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)  # noqa: S607 our own paths
