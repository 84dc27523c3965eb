"""A connection to NATS that never gives up, with what nats-py needs to be told for that.

Its defaults give up after 60 attempts, notice a dead server after minutes, and its `close` may
raise when the server went first. Nor is `flush` with a deadline to be used (nats-py 2.16): it
leaves a future behind that is done, and the PONG that comes late then ends the read loop for good.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

# When the loop stalls so long that this overflows, nats-py drops messages without a word that
# could be relied on. That is safe: each of ours carries its seq, and a gap is fetched.
_MOST_PENDING = 65_536
_MOST_PENDING_BYTES = 64 * 1024 * 1024
_PATIENCE_S = 3.0
_LOOK_S = 1.0
_LONGEST_AWAY_S = 30.0
_CLOSE_S = 2.0

AWAY = (
    NatsError,
    OSError,
    TimeoutError,
    RuntimeError,  # from uvloop, for writing to a connection that was just lost
)
"""What nats-py raises where NATS is away."""

_GARBLED = (AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What nats-py may raise at once, and not try again, where a greeting is none of NATS's."""

Handler = Callable[[Msg], Awaitable[None]]

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


@asynccontextmanager
async def connection(
    url: str,
    *,
    name: str,
    on_reconnected: Callable[[], None] = lambda: None,
    on_lost: Callable[[], None] = lambda: None,
) -> AsyncGenerator[Client]:
    """Connect, waiting for NATS as long as it takes, and close at the end, whatever its state.

    `url` may be of several servers of one cluster, separated by commas.
    """
    # nats-py says nothing of a server that was never there.
    ending = asyncio.Event()
    awaiting = asyncio.get_running_loop().call_later(_PATIENCE_S, _say_awaited)
    try:
        client = await _connected(url, name, _callbacks(on_reconnected, on_lost, ending))
    finally:
        awaiting.cancel()
    _log.info("connected to NATS", action="nats.connected")
    try:
        yield client
    finally:
        ending.set()
        await _close(client)


async def _connected(url: str, name: str, callbacks: dict[str, Any]) -> Client:
    options: dict[str, Any] = callbacks | {
        "name": name,
        "max_reconnect_attempts": -1,
        "reconnect_time_wait": 0.2,
        "connect_timeout": 2,
        "ping_interval": 5,
        "max_outstanding_pings": 2,
        "flush_timeout": 1,  # a publish waits so long for a server that does not read; not ten
    }
    while True:
        client = Client()
        try:
            await client.connect([each.strip() for each in url.split(",")], **options)
        except _GARBLED as error:
            _log.warning("no NATS answers there", action="nats.garbled", why=type(error).__name__)
            await _close(client)
            await asyncio.sleep(_LOOK_S)
        else:
            return client


async def _close(client: Client) -> None:
    # nats-py raises TypeError or ConnectionResetError from close() when the server went first.
    with suppress(*AWAY, TypeError):
        async with asyncio.timeout(_CLOSE_S):
            await client.close()


def _say_awaited() -> None:
    _log.warning("NATS is not there; connecting as soon as it is", action="nats.awaited")


async def subscribe(client: Client, subject: str, handler: Handler, *, queue: str = "") -> None:
    """Have a handler called for every message; with a queue, one of its members is called."""
    # Lost right now: nats-py knows of it, and says it again over the next connection.
    with suppress(*AWAY):
        await client.subscribe(  # pyright: ignore[reportUnknownMemberType] nats-py leaves a type open
            subject,
            queue=queue,
            cb=handler,
            pending_msgs_limit=_MOST_PENDING,
            pending_bytes_limit=_MOST_PENDING_BYTES,
        )


async def forever() -> None:
    """Wait until cancelled."""
    await asyncio.Event().wait()


async def given_up(client: Client) -> None:
    """Wait until a client was away for so long that it may have stopped trying.

    An error that nats-py does not expect, such as a garbled greeting, ends its task that connects
    again, and nothing tells. Where NATS itself is away, a new client waits for it just as well.
    """
    away_s = 0.0
    while away_s < _LONGEST_AWAY_S:
        await asyncio.sleep(_LOOK_S)
        away_s = 0.0 if client.is_connected else away_s + _LOOK_S
    _log.warning("NATS is away for long; connecting anew", action="nats.given_up")


def _callbacks(
    on_reconnected: Callable[[], None], on_lost: Callable[[], None], ending: asyncio.Event
) -> dict[str, Any]:
    async def lost() -> None:
        if ending.is_set():
            return
        _log.warning("NATS went away; connecting again", action="nats.lost")
        on_lost()

    async def back() -> None:
        _log.info("NATS is back", action="nats.back")
        on_reconnected()

    async def failed(error: Exception) -> None:
        _log.debug("NATS", action="nats.error", error=f"{type(error).__name__}: {error}")

    return {"disconnected_cb": lost, "reconnected_cb": back, "error_cb": failed}
