"""The SDK's clock: CLOCK_BOOTTIME, which continues while the machine sleeps."""

import functools
import time
from pathlib import Path
from uuid import UUID

from rescind.errors import RescindError

_BOOTTIME: int | None = getattr(time, "CLOCK_BOOTTIME", None)

# A partial of a builtin: each check calls it, and a Python function would cost a third more.
boottime_ns = functools.partial(time.clock_gettime_ns, _BOOTTIME if _BOOTTIME is not None else -1)


def monotonic_s() -> float:
    """Return the monotonic time in seconds, for deadlines of I/O."""
    return time.monotonic()


def require_boottime() -> None:
    """Raise RescindError on a platform on which a lease cannot be measured."""
    if _BOOTTIME is None:
        raise RescindError("rescind needs Linux: only there CLOCK_BOOTTIME counts through a sleep")


def time_namespace() -> str:
    """Return the time namespace of this process, which may have its own CLOCK_BOOTTIME."""
    try:
        return str(Path("/proc/self/ns/time").readlink())
    except OSError:
        return ""  # a kernel without time namespaces has one clock for all processes


def boot_id() -> bytes:
    """Return the id of the boot from which CLOCK_BOOTTIME counts, in 16 bytes."""
    return UUID(Path("/proc/sys/kernel/random/boot_id").read_text().strip()).bytes
