"""Direct children of this process: started, watched, stopped, and never left behind.

A child gets its stop signal from this process, or from the kernel if this process dies first
(`launcher.py`). It leads a process group of its own. So Ctrl-C at a terminal reaches this process
alone, which stops its children in order, and whatever a child leaves behind dies with the group.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from rescind.errors import RescindError
from rescind_runtime import ready_line as ready
from rescind_runtime.processes import launcher

STOP_DEADLINE_S = 10.0
_POLL_S = 0.005
_TAIL_LINES = 12

_Result = TypeVar("_Result")


class ChildError(RescindError):
    """Raised when a child failed; the text has the last lines of its log."""

    def __init__(self, program: "Program", problem: str) -> None:
        super().__init__(f"{program.name} {problem}{_tail(program.log)}")
        self.name = program.name
        self.log = program.log


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """The description of a child: its display name, its command, and its stop signal."""

    name: str
    command: Sequence[str]  # the program's absolute path first; never a secret: `ps` shows it
    directory: Path  # where it runs
    log: Path | None  # None: our own standard error
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    stop_signal: signal.Signals = signal.SIGTERM
    identity: str = launcher.SAME
    inherited: tuple[int, ...] = ()  # descriptors that it keeps open
    announces: bool = False  # it prints a ready line; else its standard output belongs to the log


class Child:
    """One running child. Created by `running`, from the main thread only."""

    def __init__(self, program: Program) -> None:
        # The kernel ties "when the parent dies" to the *thread* that forked (prctl(2)).
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("children are started from the main thread")
        self.program = program
        self._output = b""
        with _fresh_log(program.log) as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own program and arguments
                launched(program),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if program.announces else log,
                stderr=log,
                env=program.environment,
                process_group=0,
                pass_fds=program.inherited,
            )
        if self._process.stdout is not None:
            os.set_blocking(self._process.stdout.fileno(), False)

    @property
    def pid(self) -> int:
        """Return the process id, which is not reused before `stop` returned."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Return True if the child ended. It is not reaped: its pid stays reserved until `stop`."""
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return self._process.returncode is not None or (
            os.waitid(os.P_PID, self.pid, flags) is not None
        )

    @property
    def succeeded(self) -> bool:
        """Return True if the child ended by itself with exit code 0."""
        end = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return end is not None and (end.si_code, end.si_status) == (os.CLD_EXITED, 0)

    async def wait_ended(self) -> None:
        """Wait until the child ends, for whatever reason."""
        if self._process.returncode is not None:
            return
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        descriptor = os.pidfd_open(self.pid)
        loop.add_reader(descriptor, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)

    async def until(self, probe: Callable[[], _Result | None], *, deadline_s: float) -> _Result:
        """Poll `probe` until it returns a result.

        Raises ChildError if the child ends before that, or the deadline passes.
        """
        try:
            async with asyncio.timeout(deadline_s):
                while True:
                    # Read before the probe, so that the probe sees what the child did last.
                    ended = self.ended
                    if (result := probe()) is not None:
                        return result
                    if ended:
                        raise self.failure()
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            problem = f"was not ready after {deadline_s:.0f} s."
            raise ChildError(self.program, problem) from None

    async def ready(self, *, deadline_s: float) -> dict[str, object]:
        """Return the facts of the child's ready line (`rescind_runtime.ready_line`)."""
        return await self.until(self._ready_line, deadline_s=deadline_s)

    def failure(self) -> ChildError:
        """Return an error that describes how the child ended unexpectedly."""
        end = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        if end is None or end.si_code == os.CLD_EXITED:
            status = end.si_status if end else "?"
            return ChildError(self.program, f"stopped by itself, with exit code {status}.")
        name = signal.Signals(end.si_status).name
        return ChildError(
            self.program, f"was killed with {name}, by another process, or because memory ran out."
        )

    def send_stop_signal(self) -> None:
        """Send the child its stop signal, and do not wait."""
        if not self.ended:
            self._process.send_signal(self.program.stop_signal)

    async def stop(self, *, deadline_s: float = STOP_DEADLINE_S) -> None:
        """Send the stop signal, and wait. Then kill what is left of the group, and reap."""
        if self._process.returncode is not None:
            return
        self.send_stop_signal()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(deadline_s):
                    await self.wait_ended()
        finally:
            # Before reaping: as long as it is a zombie, its group number cannot be reused.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()
            if self._process.stdout is not None:
                self._process.stdout.close()

    def _ready_line(self) -> dict[str, object] | None:
        if self._process.stdout is None:
            raise ValueError(f"{self.program.name} announces nothing")
        with contextlib.suppress(BlockingIOError):
            self._output += os.read(self._process.stdout.fileno(), 65_536)
        line, newline, _ = self._output.partition(b"\n")
        if not newline:
            return None
        facts = ready.parse(line)
        if (why := ready.refusal(line)) is not None:
            raise ChildError(self.program, f"is not ready: {why}.")
        if facts is None:
            printed = line[:200].decode(errors="replace")
            raise ChildError(self.program, f"printed {printed!r} where its ready line belongs.")
        return facts


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answered: the child, and where it listens."""

    child: Child
    url: str


@contextlib.asynccontextmanager
async def running(program: Program) -> AsyncGenerator[Child]:
    """Start a child, and stop it at the end of the block."""
    child = Child(program)
    try:
        yield child
    finally:
        await child.stop()


def launched(program: Program) -> list[str]:
    """Return the command that starts the program through `launcher.py`."""
    return [
        sys.executable,
        "-IS",  # no site, no user paths: it starts in 10 ms, and runs no other user's code
        launcher.__file__,
        str(os.getpid()),
        str(int(program.stop_signal)),
        program.identity,
        str(program.directory),
        *program.command,
    ]


@contextlib.contextmanager
def _fresh_log(path: Path | None) -> Generator[int | None]:
    """Open a new log, and keep that of the last start beside it: logs are bounded, not lost."""
    if path is None:
        yield None
        return
    with contextlib.suppress(FileNotFoundError):
        path.replace(path.with_name(f"{path.name}.1"))
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _tail(log: Path | None) -> str:
    if log is None:
        return ""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:]
    except OSError:
        return f" Its log was to be {log}."
    if not lines:
        return f" Its log, {log}, is empty."
    return "\n".join([f" The end of {log}:", *(f"    {line}" for line in lines)])
