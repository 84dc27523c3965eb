"""Starts and ends of real processes: ready by their output, gone by the kernel's report."""

import contextlib
import json
import os
import select
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.eventually import eventually_blocking
from tests.support.outcomes import LateError


def gone(pid: int) -> bool:
    """Return True if a process has ended. A zombie has ended, although it is not reaped yet."""
    try:
        return _state(pid) in "ZX"
    except OSError:
        return True


def stop(pid: int) -> None:
    """Stop a process (SIGSTOP), and wait until it has: it may run on for a moment."""
    os.kill(pid, signal.SIGSTOP)
    eventually_blocking(lambda: _state(pid) == "T")


def _state(pid: int) -> str:
    """Return the state letter of a process (proc(5)). Raises OSError if there is no process."""
    facts = Path("/proc", str(pid), "stat").read_text(encoding="utf-8", errors="replace")
    return facts.rpartition(")")[2].split()[0]


def users(directory: Path) -> dict[int, str]:
    """Return the processes that hold a data directory: each part of a run keeps its lock open."""
    lock = directory / "lock"
    found: dict[int, str] = {}
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            if any(each.readlink() == lock for each in (process / "fd").iterdir()):
                found[int(process.name)] = (process / "cmdline").read_text().replace("\0", " ")
    return found


def sockets(directory: Path) -> list[Path]:
    """Return the socket files anywhere in a directory."""
    return [path for path in directory.rglob("*") if stat.S_ISSOCK(path.lstat().st_mode)]


def mode(path: Path) -> int:
    """Return the permission bits of a file."""
    return stat.S_IMODE(path.stat().st_mode)


def owner(path: Path) -> int:
    """Return the user who owns a file."""
    return path.lstat().st_uid


def clean_environment(**settings: str) -> dict[str, str]:
    """Return this environment without any setting of rescind but those given."""
    kept = {key: text for key, text in os.environ.items() if not key.startswith("RESCIND_")}
    return kept | settings


@dataclass(frozen=True, slots=True)
class Run:
    """A command that printed one line of JSON, and still runs."""

    process: subprocess.Popen[bytes]
    ready: Mapping[str, object]

    def end(self, number: signal.Signals, *, deadline_s: float = 30.0) -> int:
        """Send a signal, and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(deadline_s)


@contextlib.contextmanager
def running(*command: str, environ: Mapping[str, str], deadline_s: float = 90.0) -> Iterator[Run]:
    """Run `python` with these arguments until its line of JSON; kill it at the end of the block."""
    with subprocess.Popen(
        [sys.executable, *command],
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            yield Run(process, json.loads(_line(process, deadline_s)))
        finally:
            process.kill()


def _line(process: subprocess.Popen[bytes], deadline_s: float) -> bytes:
    assert process.stdout is not None
    assert process.stderr is not None
    readable, _, _ = select.select([process.stdout], [], [], deadline_s)
    line = process.stdout.readline() if readable else b""
    if not line:
        ended = bool(readable)  # else it still runs, and prints nothing
        process.kill()
        error = AssertionError if ended else LateError
        raise error(f"it never got ready: {process.stderr.read().decode()}")
    return line
