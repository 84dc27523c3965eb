"""Where the SDK looks for its sidecar, when the program does not say."""

import os
from pathlib import Path

from rescind.errors import RescindError

RUN = Path("/run/rescind")
"""Where the sockets of sidecars lie, unless a setting says otherwise."""


def socket_path() -> Path:
    """Give RESCIND_SOCKET, or the usual place for RESCIND_SERVICE. Raises RescindError."""
    named = os.environ.get("RESCIND_SOCKET")
    if named:
        return Path(named)
    service = os.environ.get("RESCIND_SERVICE")
    if service:
        return usual_path(service)
    raise RescindError(
        "no sidecar is named: set RESCIND_SOCKET to its socket, or RESCIND_SERVICE to the "
        f"service whose socket lies in {RUN}, or give Verifier.attach() a path"
    )


def usual_path(service: str) -> Path:
    """Give the socket of a service's sidecar where no setting names one."""
    return RUN / f"{service}.sock"
