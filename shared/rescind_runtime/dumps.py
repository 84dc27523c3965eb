"""Protection of a process's keys and tokens from core dumps, and from peers reading its memory."""

import ctypes
import os
import resource
from pathlib import Path

_PR_SET_DUMPABLE = 4  # linux/prctl.h
_PATTERN = Path("/proc/sys/kernel/core_pattern")


def forbid() -> str | None:
    """Protect this process's memory from core dumps and from debuggers of the same user.

    A program that it executes is not protected. Returns why the kernel refused, else None.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) == 0:
        return None
    return os.strerror(ctypes.get_errno())


def possible() -> str | None:
    """Return how a process started here might leave a core dump, or None if it does not."""
    try:
        pattern = _PATTERN.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        pattern = ""
    return described(pattern, resource.getrlimit(resource.RLIMIT_CORE)[0])


def described(pattern: str, limit: int) -> str | None:
    """Return how the kernel's pattern and the soft limit (bytes) allow a core dump, or None.

    A program that the pattern names receives the dump whatever the limit is (core(5)).
    """
    if pattern.startswith("|"):
        program = pattern[1:].partition(" ")[0] or "a program"
        return f"the kernel gives a dump to {program}"
    if limit != 0 and pattern:
        return "the limit of a dump (ulimit -c) is not 0"
    return None
