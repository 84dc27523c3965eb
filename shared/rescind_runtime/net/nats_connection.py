"""Connections to NATS that are retried without end.

nats-py's defaults give up after 60 attempts and notice a dead server after minutes. Its `close`
may raise if the server closed first. Its `flush` must not be used with a deadline (nats-py 2.16):
it leaves a completed future behind, and a late PONG then ends the read loop for good.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from rescind.client import causes
from rescind.client.causes import Cause, Fault
from rescind.client.tls import TlsError
from rescind_runtime.links import NatsLink
from rescind_runtime.net import nats_client

# When the loop stalls so long that a queue exceeds these limits, nats-py drops messages without a
# reliable report. That is safe: each of our messages carries its seq, and a gap is fetched.
_MAX_PENDING = 65_536
_MAX_PENDING_BYTES = 64 * 1024 * 1024
_LOG_AFTER_S = 3.0
_POLL_S = 1.0
_MAX_DISCONNECTED_S = 30.0
_CLOSE_S = 2.0
_CANCEL_AGAIN_S = 0.1

UNREACHABLE_ERRORS = (
    NatsError,
    OSError,
    TimeoutError,
    RuntimeError,  # from uvloop, for writing to a connection that was just lost
)
"""The exceptions of nats-py when NATS is unreachable."""

_NOT_NATS_ERRORS = (
    *(AttributeError, LookupError, RuntimeError, TypeError, ValueError),
    *nats_client.NKEY_ERRORS,  # from a file of ours that was replaced by something else
)
"""The exceptions that nats-py may raise, without a retry, if a greeting is not NATS's."""

Handler = Callable[[Msg], Awaitable[None]]

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


@asynccontextmanager
async def connection(
    link: NatsLink | str,
    *,
    name: str,
    on_reconnected: Callable[[], None] = lambda: None,
    on_lost: Callable[[], None] = lambda: None,
    wait_for_files: bool = False,
) -> AsyncGenerator[Client]:
    """Connect, waiting for NATS without a deadline, and close at the end, whatever its state.

    A text contains the URLs of the servers of one cluster, separated by commas. The files of a
    link are read now. Raises TlsError for a file that cannot be used, unless the files were valid
    before (`wait_for_files`): then this waits for usable files too.
    """
    if isinstance(link, str):
        link = NatsLink.read(link)
    # nats-py reports nothing about a server that was never reachable.
    ending, faults = asyncio.Event(), _FaultLog()
    timer = asyncio.get_running_loop().call_later(_LOG_AFTER_S, faults.log_unreachable)
    try:
        client = await _connected(
            link,
            _callbacks(on_reconnected, on_lost, ending, faults) | {"name": name},
            wait_for_files=wait_for_files,
        )
    finally:
        timer.cancel()
    _log.info("connected to NATS", action="nats.connected")
    try:
        yield client
    finally:
        ending.set()
        await _close(client)


async def _connected(link: NatsLink, callbacks: dict[str, Any], *, wait_for_files: bool) -> Client:
    options: dict[str, Any] = (
        callbacks
        | await _read(link, wait_for_files=wait_for_files)
        | {
            "max_reconnect_attempts": -1,
            "reconnect_time_wait": 0.2,
            "connect_timeout": 2,
            "ping_interval": 5,
            "max_outstanding_pings": 2,
            "flush_timeout": 1,  # a publish waits 1 s, not 10 s, for a server that does not read
        }
    )
    while True:
        client = nats_client.client(link)
        try:
            await _await_cancellable(client.connect(**options))
        except _NOT_NATS_ERRORS as error:
            _log.warning("no NATS answers there", action="nats.garbled", why=type(error).__name__)
            await _close(client)
            await asyncio.sleep(_POLL_S)
        except asyncio.CancelledError:
            await _close(client)  # it may have connected at the same moment
            raise
        else:
            return client


async def _read(link: NatsLink, *, wait_for_files: bool) -> dict[str, Any]:
    while True:
        try:
            return nats_client.options(link)
        except TlsError as error:
            if not wait_for_files:
                raise
            _log.error("NATS cannot be used", action="nats.refused", cause="file", why=str(error))
            await asyncio.sleep(_MAX_DISCONNECTED_S)


async def _await_cancellable(connecting: Coroutine[Any, Any, None]) -> None:
    """Await an attempt to connect; when cancelled, cancel the attempt until it ends.

    nats-py goes on trying if the cancellation coincides with a refused connection.
    """
    task = asyncio.create_task(connecting)  # noqa: TID251 - it ends before this returns
    try:
        await asyncio.wait({task})
    finally:
        while not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=_CANCEL_AGAIN_S)
    await task


async def _close(client: Client) -> None:
    # nats-py raises TypeError or ConnectionResetError from close() if the server closed first.
    with suppress(*UNREACHABLE_ERRORS, TypeError):
        async with asyncio.timeout(_CLOSE_S):
            await client.close()


class _FaultLog:
    """The problems of a connection, each logged once: nats-py reports them five times a second."""

    def __init__(self) -> None:
        self._last: Cause | None = None
        self._logged: set[Cause] = set()

    def log(self, error: Exception) -> None:
        """Log a problem that waiting does not solve; `log_unreachable` logs the others."""
        cause = causes.of(error)
        if cause not in self._logged and not cause.transient:
            self._logged.add(cause)
            _log.warning(
                "NATS cannot be used",
                action="nats.refused",
                cause=str(cause.kind),
                why=cause.description,
                do=cause.advice("nats", "RESCIND_NATS_URL"),
            )
        self._last = cause

    def clear(self) -> None:
        """Clear the problems, so that each is logged again."""
        self._last = None
        self._logged.clear()

    def log_unreachable(self) -> None:
        """Log that NATS is unreachable, and why."""
        cause = self._last or Cause(Fault.TIMEOUT)
        _log.warning(
            "NATS is not there; connecting as soon as it is",
            action="nats.awaited",
            cause=str(cause.kind),
            why=cause.description,
            do=cause.advice("nats", "RESCIND_NATS_URL"),
        )


async def subscribe(client: Client, subject: str, handler: Handler, *, queue: str = "") -> None:
    """Subscribe a handler to a subject; in a queue, one member receives each message."""
    # If the connection was just lost, nats-py subscribes again over the next connection.
    with suppress(*UNREACHABLE_ERRORS):
        await client.subscribe(  # pyright: ignore[reportUnknownMemberType] nats-py leaves a type open
            subject,
            queue=queue,
            cb=handler,
            pending_msgs_limit=_MAX_PENDING,
            pending_bytes_limit=_MAX_PENDING_BYTES,
        )


async def forever() -> None:
    """Wait until cancelled."""
    await asyncio.Event().wait()


async def wait_until_given_up(client: Client) -> None:
    """Wait until a client has been disconnected for so long that it may not try again.

    An error that nats-py does not expect, such as a garbled greeting, ends its reconnection task
    without a report. If NATS itself is unreachable, a new client waits for it just as well.
    """
    disconnected_s = 0.0
    while disconnected_s < _MAX_DISCONNECTED_S:
        await asyncio.sleep(_POLL_S)
        disconnected_s = 0.0 if client.is_connected else disconnected_s + _POLL_S
    _log.warning("NATS is away for long; connecting anew", action="nats.given_up")


def _callbacks(
    on_reconnected: Callable[[], None],
    on_lost: Callable[[], None],
    ending: asyncio.Event,
    faults: _FaultLog,
) -> dict[str, Any]:
    async def lost() -> None:
        if ending.is_set():
            return
        _log.warning("NATS went away; connecting again", action="nats.lost")
        on_lost()

    async def back() -> None:
        faults.clear()
        _log.info("NATS is back", action="nats.back")
        on_reconnected()

    async def failed(error: Exception) -> None:
        faults.log(error)
        _log.debug("NATS", action="nats.error", error=f"{type(error).__name__}: {error}")

    return {"disconnected_cb": lost, "reconnected_cb": back, "error_cb": failed}
