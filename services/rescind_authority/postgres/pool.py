"""Connections to Postgres: their settings, their type codecs, and the translation of errors.

Callers pass and receive times as Unix microseconds (int), and JSON as Python objects.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TypeAlias, cast

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from rescind.client import causes
from rescind.client.tls import TlsError
from rescind_authority.errors import (
    CommitUnknownError,
    NotMigratedError,
    StoreContendedError,
    StoreRefusedError,
    StoreUnavailableError,
)
from rescind_authority.postgres import queries
from rescind_authority.postgres.servers import IdentifiedConnection, Servers
from rescind_runtime.links import PostgresLink

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Borrowed: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"

_NO_URL = "RESCIND_POSTGRES_DSN is not a connection URL (postgresql://user@host/database)"
SIZE = 12  # connections of one authority
_CONNECT_S = 5.0
_STATEMENT_S = 10.0
_COMMIT_S = 10.0
_CONFIRM_S = 3.0  # less than connecting may take
_WARNING = "01000"
_UNIX_AT_2000_US = 946_684_800_000_000  # Postgres counts from 2000-01-01
_SESSION = {
    "application_name": "rescind-authority",
    "timezone": "UTC",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "15s",
    # No statement_timeout: it would also cancel a COMMIT that waits for its standby, and that
    # COMMIT would then be reported as done.
}
_MISSING = (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError)
_CONTENDED = (
    asyncpg.DeadlockDetectedError,
    asyncpg.LockNotAvailableError,
    asyncpg.SerializationError,
)
_UNREACHABLE = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # once, from a pooled connection whose server went away
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ObjectNotInPrerequisiteStateError,  # the database accepts no connections
    asyncpg.IdleInTransactionSessionTimeoutError,
)


class Postgres:
    """A pool of connections, opened when they are needed."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", servers: Servers) -> None:
        self._pool = pool
        self._servers = servers

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[Borrowed]:
        """Borrow a connection. The driver's errors in the block are translated."""
        try:
            with translated():
                connection = await self._pool.acquire(timeout=_CONNECT_S)
        except ValueError as error:  # the driver cannot parse the URL
            raise StoreUnavailableError(_NO_URL) from error
        try:
            with translated():
                yield connection
        finally:
            # A failed release must not make committed work look undone.
            with suppress(*_UNREACHABLE):
                await self._pool.release(connection)

    async def rows(self, query: str, *arguments: object) -> Sequence[asyncpg.Record]:
        """Run one query file that only reads: its commit is not checked.

        Raises OldPrimaryError if the server was replaced before the answer arrived.
        """
        async with self.connection() as connection:
            found = await rows(connection, query, *arguments)
            self.reject_old_primary(connection)
            return found

    def reject_old_primary(self, connection: Borrowed) -> None:
        """Raise OldPrimaryError if a connection leads to a server that was replaced."""
        # The pool's proxy passes attributes on.
        self._servers.reject_old_primary(cast("IdentifiedConnection", connection).server)

    async def reconnect(self) -> None:
        """Replace every connection before its next use."""
        await self._pool.expire_connections()

    async def write(self, query: str, *arguments: object) -> Sequence[asyncpg.Record]:
        """Run one query file in a transaction of its own. Raises as `transaction` does."""
        async with self.transaction() as connection:
            return await rows(connection, query, *arguments)

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Borrowed]:
        """Run a block in one transaction on a connection of its own."""
        async with self.connection() as connection, transaction(connection):
            yield connection


@asynccontextmanager
async def transaction(
    connection: Borrowed, *, deadline_s: float | None = None
) -> AsyncGenerator[None]:
    """Run a block in one transaction on a borrowed connection, which can be used after it.

    Raises CommitUnknownError when COMMIT was cut off, or its wait for a standby cancelled.
    """
    await connection.execute("BEGIN", timeout=_STATEMENT_S)
    done = False
    try:
        yield
        await _commit(connection, deadline_s=deadline_s or _COMMIT_S)
        done = True
    finally:
        if not done:
            # Terminating the connection is a rollback that cannot fail. The connection may be
            # lost already; then this must not hide the original error.
            with suppress(asyncpg.InterfaceError):
                connection.terminate()


async def rows(connection: Borrowed, query: str, *arguments: object) -> Sequence[asyncpg.Record]:
    """Run one query file on a connection."""
    return await connection.fetch(queries.read(query), *arguments, timeout=_STATEMENT_S)


@asynccontextmanager
async def connect(link: PostgresLink | str) -> AsyncGenerator[Postgres]:
    """Open a pool, without a connection yet, so Postgres may be unavailable.

    A string as `link` is a URL. Raises TlsError for a file that cannot be used.
    """
    if isinstance(link, str):
        link = PostgresLink(link)
    servers = Servers()

    async def prepare(connection: Connection) -> None:
        if servers.primary_changed(await cast("IdentifiedConnection", connection).identify()):
            await pool.expire_connections()
        await _confirm_commits(connection)
        await _set_codecs(connection)

    pool = asyncpg.create_pool(
        link.dsn,
        min_size=0,
        max_size=SIZE,
        connection_class=IdentifiedConnection,
        init=prepare,
        reset=_leave_as_is,
        server_settings=_SESSION,
        timeout=_CONNECT_S,
        **link.options(),
    )
    async with pool:
        yield Postgres(pool, servers)


async def _confirm_commits(connection: Connection) -> None:
    """Commit once, to check that this server can commit. Raises StoreUnavailableError.

    All data that the server shows precedes that commit in its log, so a standby has it too. An old
    primary that was restarted shows commits that no standby confirmed. A record read there has a
    position that the ledger gave to another event, and would count as newer than that event.
    """
    if await connection.fetchval("SELECT pg_is_in_recovery()"):
        return  # each query that needs the primary reads this again, in its own snapshot
    try:
        async with transaction(cast("Borrowed", connection), deadline_s=_CONFIRM_S):
            await rows(cast("Borrowed", connection), "confirm")
    except CommitUnknownError as error:
        raise StoreUnavailableError(
            "its commits do not end, so it may be an old primary. Bring its standby back, or have "
            "RESCIND_POSTGRES_DSN lead to the new primary"
        ) from error


async def _commit(connection: Borrowed, *, deadline_s: float) -> None:
    """Commit, and never cancel the COMMIT in Postgres.

    Postgres would report a cancelled COMMIT that waits for its standby as done. So a deadline or a
    cancelled task cuts the connection instead, and the outcome is unknown. The outcome is also
    unknown if another client cancels the COMMIT. Postgres then reports it as done, with a warning
    (SQLSTATE 01000) that it may be lost.
    """
    warned: list[object] = []

    def on_message(_connection: object, message: asyncpg.PostgresLogMessage) -> None:
        if message.sqlstate == _WARNING:
            warned.append(message)

    connection.add_log_listener(on_message)
    deadline = asyncio.get_running_loop().call_later(deadline_s, connection.terminate)
    try:
        await asyncio.shield(connection.execute("COMMIT", timeout=None))
        await asyncio.sleep(0)  # the driver delivers warnings in the loop's next iteration
    except asyncpg.PostgresError as error:
        if isinstance(error, _UNREACHABLE):
            raise CommitUnknownError from error
        raise  # Postgres refused the COMMIT: rolled back
    except (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        raise CommitUnknownError from error
    finally:
        deadline.cancel()
        with suppress(asyncpg.InterfaceError):  # a closed connection has no listeners
            connection.remove_log_listener(on_message)
    if warned:
        raise CommitUnknownError


@contextmanager
def translated() -> Generator[None]:
    """Translate the driver's errors. The new errors never quote the DSN or a value."""
    try:
        yield
    except TlsError as error:  # a file that existed at the start
        raise StoreUnavailableError(str(error)) from error
    except _MISSING as error:
        raise NotMigratedError from error
    except _CONTENDED as error:
        raise StoreContendedError(type(error).__name__) from error
    except _UNREACHABLE as error:
        raise StoreUnavailableError(_describe(error)) from error
    except asyncpg.PostgresError as error:
        raise StoreRefusedError(f"Postgres refused a value: {type(error).__name__}") from error


def _describe(error: Exception) -> str:
    if isinstance(error, asyncpg.ClientConfigurationError):
        return _NO_URL
    if isinstance(error, asyncpg.InvalidCatalogNameError):
        return "the database that RESCIND_POSTGRES_DSN names does not exist, create it"
    cause = causes.of(error)
    advice = cause.advice("postgres", "RESCIND_POSTGRES_DSN")
    return f"{cause.description}. {advice.removesuffix('.')}" if advice else cause.description


async def _set_codecs(connection: Connection) -> None:
    await connection.set_type_codec(
        "timestamptz",
        schema="pg_catalog",
        format="tuple",
        encoder=_to_postgres,
        decoder=_to_unix_us,
    )
    # Binary, as the driver needs it inside whole rows: a byte with the version, then the text.
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        format="binary",
        encoder=lambda value: b"\x01" + json.dumps(value).encode(),
        decoder=lambda value: json.loads(value[1:]),
    )


async def _leave_as_is(_connection: Connection) -> None:
    """Skip the round trip that resets a connection: sessions keep no state between uses."""


def _to_postgres(unix_us: int) -> tuple[int]:
    return (unix_us - _UNIX_AT_2000_US,)


def _to_unix_us(postgres: tuple[int]) -> int:
    return postgres[0] + _UNIX_AT_2000_US
