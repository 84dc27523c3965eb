"""The SDK's clock: CLOCK_BOOTTIME, which goes on while the machine sleeps."""

import functools
import time
from pathlib import Path
from uuid import UUID

from rescind.errors import RescindError

_BOOTTIME: int | None = getattr(time, "CLOCK_BOOTTIME", None)

# A partial of a builtin: the check calls it each time, and a function around it costs a third more.
boottime_ns = functools.partial(time.clock_gettime_ns, _BOOTTIME if _BOOTTIME is not None else -1)


def monotonic_s() -> float:
    """Return the time in seconds, for deadlines of I/O."""
    return time.monotonic()


def require_boottime() -> None:
    """Refuse a platform on which a lease cannot be counted."""
    if _BOOTTIME is None:
        raise RescindError("rescind needs Linux: only there CLOCK_BOOTTIME counts through a sleep")


def time_namespace() -> str:
    """Name the time namespace of this process, in which CLOCK_BOOTTIME may be set otherwise."""
    try:
        return str(Path("/proc/self/ns/time").readlink())
    except OSError:
        return ""  # a kernel without them has one for all


def boot_id() -> bytes:
    """Name the boot that CLOCK_BOOTTIME counts from, in 16 bytes."""
    return UUID(Path("/proc/sys/kernel/random/boot_id").read_text().strip()).bytes
