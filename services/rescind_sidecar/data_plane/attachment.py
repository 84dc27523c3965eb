"""The settings that all workers share, and their connection to the sidecar."""

import asyncio
import contextlib
from pathlib import Path

from rescind.client.verifier import Verifier
from rescind.errors import UnreachableError
from rescind_runtime.settings import RuntimeSettings
from rescind_sidecar.settings import parts

_ATTEMPTS = 20
_TIMEOUT_S = 1.0


class WorkerSettings(RuntimeSettings):
    """The settings that the sidecar passes to each of its workers."""

    socket: Path
    stale_status: int = 503
    audiences: str | None = None
    resource_metadata: str | None = None

    @property
    def services(self) -> tuple[str, ...]:
        """Return the services that a proxy may name, besides the sidecar's own."""
        return parts(self.audiences)


async def attach(path: Path) -> Verifier:
    """Connect to the sidecar, whose greeting may be late while it starts.

    Raises UnreachableError.
    """
    return await asyncio.to_thread(_attach, path)


def _attach(path: Path) -> Verifier:
    for _ in range(_ATTEMPTS - 1):
        with contextlib.suppress(UnreachableError):
            return Verifier.attach(path, timeout_s=_TIMEOUT_S)
    return Verifier.attach(path, timeout_s=_TIMEOUT_S)
