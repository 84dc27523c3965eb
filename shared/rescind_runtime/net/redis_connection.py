"""Connections to Redis or Valkey with short deadlines and without retries.

redis-py's defaults wait five seconds and try again with growing pauses: a GET from a dead server
took 3.7 s. Redis only makes look-ups quicker, so no look-up may wait for it.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import structlog
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.maint_notifications import MaintNotificationsConfig

from rescind.client import causes
from rescind_runtime.links import RedisLink
from rescind_runtime.settings import SettingsError, is_host

UNREACHABLE_ERRORS = (
    RedisError,
    OSError,
    TimeoutError,
    ValueError,  # from redis-py, for an answer that is not RESP
    RuntimeError,  # from uvloop, for writing to a connection that was just lost
)
"""The exceptions of redis-py if the server is unreachable, or is not Redis."""

DEADLINE_S = 0.05
CONNECT_S = 0.5
"""The deadline of a connection and its first answer: TLS takes some round trips.

No look-up waits for it.
"""

_MAX_CONNECTIONS = 2
_URL = (
    "RESCIND_REDIS_URL: expected redis://HOST:PORT/DATABASE, rediss://… or unix://PATH; in "
    "a password, write / as %2F, @ as %40 and : as %3A"
)

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


@asynccontextmanager
async def deadline(seconds: float) -> AsyncGenerator[None]:
    """Bound the duration of a block that calls redis-py. Raises TimeoutError.

    redis-py can drop a cancellation that arrives while a connection fails, and raise nothing, or
    one of `UNREACHABLE_ERRORS`. So CancelledError is raised at the end of the block if this task
    was cancelled: otherwise a loop around the block would never end.
    """
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - only a coroutine gets here
    try:
        async with asyncio.timeout(seconds):
            yield
    finally:
        if task.cancelling():
            raise asyncio.CancelledError


class FaultLog:
    """The problems of Redis: each cause is logged once, until Redis is usable again."""

    def __init__(self, event: str) -> None:
        """Store the event to log, which states what continues without Redis."""
        self._event = event
        self._logged: set[causes.Fault] = set()

    def log(self, error: Exception) -> None:
        """Log an error of the driver, unless its cause was logged already."""
        cause = causes.of(error)
        if cause.kind not in self._logged:
            self._logged.add(cause.kind)
            _log.warning(
                self._event,
                action="redis.lost",
                cause=str(cause.kind),
                why=cause.description,
                do=cause.advice("redis", "RESCIND_REDIS_URL"),
            )

    def clear(self) -> None:
        """Clear the logged causes, so that each is logged again."""
        self._logged.clear()


class _Secured(SSLConnection):
    """A connection with our context: redis-py's own also trusts the CAs of the system."""

    def __init__(self, *, context: Any, **options: Any) -> None:
        super().__init__(**options)  # pyright: ignore[reportUnknownMemberType] untyped options
        self.ssl_context.context = context


@asynccontextmanager
async def connection(
    link: RedisLink | str, *, timeout_s: float = DEADLINE_S
) -> AsyncGenerator[Redis]:
    """Yield a client that connects when it is first used. A text is the URL of the link.

    Raises SettingsError, or TlsError for a file that cannot be used.
    """
    client = Redis.from_pool(_pool(RedisLink(link) if isinstance(link, str) else link, timeout_s))
    try:
        yield client
    finally:
        with suppress(*UNREACHABLE_ERRORS):
            await client.aclose()


def _pool(link: RedisLink, timeout_s: float) -> ConnectionPool:
    try:
        host = urlsplit(link.url).hostname
        if host is not None:
            is_host(host)
        options: dict[str, Any] = {
            "retry": Retry(NoBackoff(), 0),
            "socket_timeout": timeout_s,
            "socket_connect_timeout": max(timeout_s, CONNECT_S),
            "max_connections": _MAX_CONNECTIONS,
            # A server that moves would name the next one, whose link was not checked.
            "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        } | dict(parse_url(link.url))
        # redis-py checks each option when it connects: too late to report which setting is wrong.
        if options.get("connection_class") is SSLConnection and link.secured:
            options = {key: each for key, each in options.items() if not key.startswith("ssl_")}
            options |= {"connection_class": _Secured, "context": link.tls.client()}
        return ConnectionPool(**options)
    except (ValueError, TypeError):
        # The driver's message may quote a part of the password.
        raise SettingsError(_URL) from None
