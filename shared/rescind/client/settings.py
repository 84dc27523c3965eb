"""Where the SDK looks for its sidecar, when the program does not say."""

import os
from pathlib import Path

from rescind.errors import RescindError

_RUN = Path("/run/rescind")


def socket_path() -> Path:
    """Give RESCIND_SOCKET, or the usual place for RESCIND_SERVICE. Raises RescindError."""
    named = os.environ.get("RESCIND_SOCKET")
    if named:
        return Path(named)
    service = os.environ.get("RESCIND_SERVICE")
    if service:
        return _RUN / f"{service}.sock"
    raise RescindError(
        "no sidecar is named: set RESCIND_SOCKET to its socket, or RESCIND_SERVICE to the "
        f"service whose socket lies in {_RUN}, or give Verifier.attach() a path"
    )
