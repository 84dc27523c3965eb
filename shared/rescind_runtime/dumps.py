"""Core dumps: a process that holds keys or tokens leaves none, and lets no peer read its memory."""

import ctypes
import os
import resource
from pathlib import Path

_PR_SET_DUMPABLE = 4  # linux/prctl.h
_PATTERN = Path("/proc/sys/kernel/core_pattern")


def forbid() -> str | None:
    """Keep this process's memory out of core dumps, and from debuggers of the same user.

    A program that it executes begins anew. Returns why the kernel refused; None: it did not.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) == 0:
        return None
    return os.strerror(ctypes.get_errno())


def possible() -> str | None:
    """Return how a process that is started here might leave a core dump; None: it does not."""
    try:
        pattern = _PATTERN.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        pattern = ""
    return described(pattern, resource.getrlimit(resource.RLIMIT_CORE)[0])


def described(pattern: str, limit: int) -> str | None:
    """Return how a core dump comes about, by the kernel's pattern and the soft limit in bytes.

    A pattern that names a program gets the dump whatever the limit is (core(5)).
    """
    if pattern.startswith("|"):
        program = pattern[1:].partition(" ")[0] or "a program"
        return f"the kernel gives a dump to {program}"
    if limit != 0 and pattern:
        return "the limit of a dump (ulimit -c) is not 0"
    return None
