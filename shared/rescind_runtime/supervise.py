"""The life of one process: signals request its end, and errors end it with a plain message.

This is the only file with a broad `except`: no caller expected the errors that arrive here.
"""

import asyncio
import resource
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import NoReturn, cast

import structlog
import uvloop

from rescind.errors import RescindError
from rescind_runtime import clock, dumps, logs
from rescind_runtime.settings import RuntimeSettings

_DESCRIPTORS = 65_536

EXIT_FAILED = 1  # for a reason that the message names
EXIT_CRASHED = 70  # EX_SOFTWARE in sysexits.h: a defect of ours
EXIT_INTERRUPTED = 130  # what a shell reports for SIGINT
_EXIT_SIGNALLED = 128

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


class Stop:
    """The request that this process ends. Create it inside a running event loop."""

    def __init__(self) -> None:
        self._requested = asyncio.Event()
        self.by: int | None = None
        """The number of the signal that requested the end; None without a signal."""
        self.on_hangup: Callable[[], None] | None = None
        """The function that SIGHUP calls in place of requesting the end, if one is set."""

    def request(self) -> None:
        """Request the end; a second request changes nothing."""
        self._requested.set()

    @property
    def requested(self) -> bool:
        """Return True if the end was requested."""
        return self._requested.is_set()

    async def wait(self) -> None:
        """Wait until the end is requested."""
        await self._requested.wait()


def run(main: Callable[[Stop], Awaitable[None]], *, name: str) -> NoReturn:
    """Run `main` until it returns, then exit with a code that reports how it ended.

    SIGINT, SIGTERM or SIGHUP set its Stop, upon which it should clean up and return; a second one
    cancels it. If `main` has something to reload, SIGHUP only reloads that. A RescindError becomes
    one line on stderr and exit 1; any other error is logged once as `crashed` and exits 70.
    Background jobs belong in a TaskGroup of `main`.
    The process leaves no core dump, unless the kernel refuses to forbid that.
    """
    sys.exit(exit_code(main, name=name))


def exit_code(main: Callable[[Stop], Awaitable[None]], *, name: str) -> int:
    """Run like `run`, but return the exit code."""
    try:
        clock.require_linux()
        refused = dumps.forbid()  # first of all: keys and tokens are read after it
        logs.configure(RuntimeSettings.load().log)
        if refused is not None:
            _log.warning(
                "core dumps of this process are possible", action="process.dumpable", why=refused
            )
        _allow_descriptors()
        uvloop.run(_until_stopped(main))
    except (asyncio.CancelledError, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last handler: log it once, then exit
        return _report(error, name=name)
    return 0


def exit_of(stop: Stop) -> int:
    """Return the exit code that a shell reports for the signal that requested the end."""
    return EXIT_INTERRUPTED if stop.by is None else _EXIT_SIGNALLED + stop.by


def _allow_descriptors() -> None:
    """Raise the limit of descriptors: a service has more connections than the usual 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY:
        wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_DESCRIPTORS, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


async def _until_stopped(main: Callable[[Stop], Awaitable[None]]) -> None:
    stop = Stop()
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()

    def on_signal(number: int) -> None:
        if number == signal.SIGHUP and stop.on_hangup is not None:
            stop.on_hangup()
            return
        if stop.requested and task is not None:
            task.cancel()
        stop.by = stop.by or number
        stop.request()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Under nohup the end of a terminal stays ignored.
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, on_signal, number)
    await main(stop)


def _report(error: Exception, *, name: str) -> int:
    causes = _leaves(error)
    unexpected = [cause for cause in causes if not isinstance(cause, RescindError)]
    for cause in unexpected:
        _log.error(
            "stopped by a defect in rescind; RESCIND_LOG=console:debug shows where",
            action="crashed",
            process=name,
            exc_info=cause,
        )
    if unexpected:
        return EXIT_CRASHED
    for message in dict.fromkeys(map(str, causes)):
        sys.stderr.write(f"rescind {name}: {message}\n")
    return EXIT_FAILED


def _leaves(error: Exception) -> list[Exception]:
    """Return the errors in a TaskGroup's group, without the groups."""
    if isinstance(error, ExceptionGroup):
        group = cast("ExceptionGroup[Exception]", error)
        return [leaf for inner in group.exceptions for leaf in _leaves(inner)]
    return [error]
