"""The life of one process: signals ask it to stop, errors end it in plain words.

This is the only file with a broad `except`: what arrives here was expected by nobody.
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
from rescind_runtime import clock, logs
from rescind_runtime.settings import RuntimeSettings

_DESCRIPTORS = 65_536

EXIT_FAILED = 1  # for a reason that the message names
EXIT_CRASHED = 70  # EX_SOFTWARE in sysexits.h: a defect of ours
EXIT_INTERRUPTED = 130  # what a shell reports for SIGINT

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


class Stop:
    """Be the wish that this process ends. Made inside a running event loop."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Ask for the end; asking twice changes nothing."""
        self._asked.set()

    @property
    def asked(self) -> bool:
        """Tell whether the end was asked for."""
        return self._asked.is_set()

    async def wait(self) -> None:
        """Return once somebody asked for the end."""
        await self._asked.wait()


def run(main: Callable[[Stop], Awaitable[None]], *, name: str) -> NoReturn:
    """Run `main` until it returns, then leave the process with an exit code that tells how it went.

    SIGINT or SIGTERM set its Stop, upon which it should clean up and return; a second one cancels
    it. A RescindError becomes one line on stderr and exit 1; anything else is logged once as
    `crashed` and exits 70. Background jobs belong into a TaskGroup of `main`.
    """
    sys.exit(exit_code(main, name=name))


def exit_code(main: Callable[[Stop], Awaitable[None]], *, name: str) -> int:
    """Do what `run` does, but return the exit code."""
    try:
        clock.require_linux()
        logs.configure(RuntimeSettings.load().log)
        _allow_descriptors()
        uvloop.run(_until_stopped(main))
    except (asyncio.CancelledError, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the end of the line: say it once, then exit
        return _report(error, name=name)
    return 0


def _allow_descriptors() -> None:
    """Take what the system allows of descriptors: our connections are more than the usual 1,024."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if now != resource.RLIM_INFINITY:
        wanted = _DESCRIPTORS if most == resource.RLIM_INFINITY else min(_DESCRIPTORS, most)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(now, wanted), most))


async def _until_stopped(main: Callable[[Stop], Awaitable[None]]) -> None:
    stop = Stop()
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()

    def on_signal() -> None:
        if stop.asked and task is not None:
            task.cancel()
        stop.ask()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)
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
    """Take a TaskGroup's group apart: what happened are its leaves."""
    if isinstance(error, ExceptionGroup):
        group = cast("ExceptionGroup[Exception]", error)
        return [leaf for inner in group.exceptions for leaf in _leaves(inner)]
    return [error]
