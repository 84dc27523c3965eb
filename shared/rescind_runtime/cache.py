"""A connection to Redis or Valkey that fails at once, with what redis-py needs to be told for that.

Its defaults wait five seconds and try again with growing pauses: a GET from a dead server took
3.7 s. Redis only makes look-ups quicker, so nobody may ever wait for it.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from rescind_runtime.settings import SettingsError

AWAY = (
    RedisError,
    OSError,
    TimeoutError,
    ValueError,  # from redis-py, for an answer that is no RESP
    RuntimeError,  # from uvloop, for writing to a connection that was just lost
)
"""What redis-py raises when the server is away, or is not what it should be."""

_DEADLINE_S = 0.05
_MOST_CONNECTIONS = 2


@asynccontextmanager
async def connection(url: str) -> AsyncGenerator[Redis]:
    """Prepare to connect; that happens when it is first used. Raises SettingsError."""
    try:
        client = Redis.from_url(  # pyright: ignore[reportUnknownMemberType] its options are untyped
            url,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=_DEADLINE_S,
            socket_connect_timeout=_DEADLINE_S,
            max_connections=_MOST_CONNECTIONS,
        )
    except ValueError as error:
        raise SettingsError(
            f"RESCIND_REDIS_URL: expected redis://, rediss:// or unix:// and an address ({error})"
        ) from None
    try:
        yield client
    finally:
        with suppress(*AWAY):
            await client.aclose()
