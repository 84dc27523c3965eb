"""Migrations of the schema: ordered files, each applied in its own transaction.

Each applied file is recorded with its SHA-256. One process migrates at a time; the others wait, and
then find nothing to do.
"""

import hashlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from importlib.resources import files

import asyncpg

from rescind.core import ledger
from rescind_authority.errors import CommitUnknownError, MigrationError
from rescind_authority.postgres import migrations
from rescind_authority.postgres.pool import Borrowed, Postgres, rows, transaction, translated

_LOCK = 0x7265_7363_696E_64  # "rescind": the advisory lock of this runner
_MIN_VERSION = 150_000
_FIRST_EPOCH = 1
_HISTORY = """
CREATE TABLE IF NOT EXISTS rescind_migrations (
    name       text        PRIMARY KEY,
    sha256     bytea       NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
)
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema."""

    name: str
    script: str

    @property
    def sha256(self) -> bytes:
        """Return the hash of the script, which must not change once it was applied."""
        return hashlib.sha256(self.script.encode()).digest()


def known() -> tuple[Migration, ...]:
    """Return the steps of this program, in order."""
    return tuple(
        Migration(entry.name.removesuffix(".sql"), entry.read_text(encoding="utf-8"))
        for entry in sorted(files(migrations).iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".sql")
    )


class Migrator:
    """Apply migrations, one process at a time."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    @asynccontextmanager
    async def alone(self) -> AsyncGenerator["Schema"]:
        """Hold the lock of all migrators for the block."""
        async with self._postgres.connection() as connection:
            # The wait has no deadline: the process that holds the lock is migrating.
            await connection.execute("SET lock_timeout = 0")
            await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
            try:
                yield Schema(connection)
            finally:
                # Closing the connection frees the lock and drops the setting, also after an error.
                # A failed migration has closed it already.
                with suppress(asyncpg.InterfaceError):
                    connection.terminate()

    async def require_current(self) -> bool:
        """Return True if the schema is that of this program, False if there is no schema.

        Raises MigrationError for a newer, older or changed schema, or StoreUnavailableError.
        """
        async with self._postgres.connection() as connection:
            if await connection.fetchval("SELECT to_regclass('rescind_migrations')") is None:
                return False
            history = await _history(connection)
        steps = known()
        _compare(history, steps)
        missing = [step.name for step in steps if step.name not in history]
        if missing:
            raise MigrationError(
                f"this database lacks migration {', '.join(missing)}: run `rescind migrate`"
            )
        return True


class Schema:
    """Change the schema while the lock keeps other migrators out."""

    def __init__(self, connection: Borrowed) -> None:
        self._connection = connection

    async def migrate(self, steps: tuple[Migration, ...]) -> tuple[str, ...]:
        """Apply the missing steps, each as a whole; return their names. Raises MigrationError."""
        await self._check_version()
        await self._connection.execute(_HISTORY)
        history = await _history(self._connection)
        _compare(history, steps)
        missing = [step for step in steps if step.name not in history]
        for step in missing:
            await self._apply(step)
        return tuple(step.name for step in missing)

    async def begin_ledger(self, *, term_ms: int) -> None:
        """Begin the ledger, unless there is one."""
        genesis = ledger.genesis(_FIRST_EPOCH)
        with translated():
            async with transaction(self._connection):
                await rows(self._connection, "begin_ledger", genesis.epoch, genesis.head, term_ms)

    async def any_token(self) -> bool:
        """Return True if there is a token that has not ended."""
        with translated():
            return bool((await rows(self._connection, "any_token"))[0]["any_token"])

    async def any_mac(self) -> bool:
        """Return True if an authority with a key for rows has worked on this database."""
        with translated():
            return bool((await rows(self._connection, "any_mac"))[0]["any_mac"])

    async def live_admins(self) -> int:
        """Count the admin tokens that have not expired."""
        with translated():
            return int((await rows(self._connection, "live_admins"))[0]["live"])

    async def _check_version(self) -> None:
        version = int(await self._connection.fetchval("SHOW server_version_num"))
        if version < _MIN_VERSION:
            raise MigrationError(
                f"Postgres {version // 10_000} is too old: rescind needs Postgres 15 or later."
            )

    async def _apply(self, step: Migration) -> None:
        try:
            async with transaction(self._connection):
                await self._connection.execute(step.script)
                await self._connection.execute(
                    "INSERT INTO rescind_migrations (name, sha256) VALUES ($1, $2)",
                    step.name,
                    step.sha256,
                )
        except CommitUnknownError as error:
            raise MigrationError(
                f"it is not known whether migration {step.name} was applied: the connection was "
                "lost during its commit, or the wait for a standby was cancelled. Bring the "
                "standby back, then run `rescind migrate` again."
            ) from error
        except asyncpg.PostgresError as error:
            raise MigrationError(
                f"migration {step.name} failed and was rolled back: {error}"
            ) from error


async def _history(connection: Borrowed) -> dict[str, bytes]:
    found = await connection.fetch("SELECT name, sha256 FROM rescind_migrations")
    return {row["name"]: row["sha256"] for row in found}


def _compare(history: dict[str, bytes], steps: tuple[Migration, ...]) -> None:
    by_name = {step.name: step for step in steps}
    for name, sha256 in sorted(history.items()):
        if name not in by_name:
            raise MigrationError(
                f"this database has migration {name}, which this version of rescind does not "
                "know: it was migrated by a newer one. Run that version, or upgrade this one."
            )
        if by_name[name].sha256 != sha256:
            raise MigrationError(
                f"migration {name} is not the one that was applied to this database: the file was "
                "changed since. Reinstall rescind as it was released; a change of the schema "
                "belongs into a new migration."
            )
