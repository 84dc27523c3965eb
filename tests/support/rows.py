"""MACs of rows, for tests that write SQL where an authority would have written it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from rescind_authority.postgres import pool
from rescind_authority.postgres.integrity.row_guard import RowGuard
from rescind_authority.postgres.integrity.row_macs import Row, RowKeys
from rescind_authority.postgres.integrity.row_rewriter import RowRewriter
from rescind_authority.postgres.records import PostgresRecords
from rescind_authority.settings import AuthoritySettings
from rescind_runtime.clock import wall_us
from rescind_runtime.crypto.signing import Keyring
from rescind_runtime.links import PostgresLink


def keys(settings: AuthoritySettings) -> Keyring:
    """Return the keys of an authority that is prepared."""
    keyring = Keyring.read(settings.keyring_path)
    keyring.advance(wall_us())
    return keyring


def guard_of(keyring: RowKeys) -> RowGuard:
    """Return a guard that reports to no other component."""
    return RowGuard(keyring, refused=lambda _name, _why: None)


def guard(settings: AuthoritySettings) -> RowGuard:
    """Return the guard of an authority that is prepared."""
    return guard_of(keys(settings))


@asynccontextmanager
async def adopting(postgres_at: PostgresLink | str, keyring_path: Path) -> AsyncIterator[None]:
    """Add MACs to the rows that the block writes. A row that was not sound before stays unsound."""
    keyring = Keyring.read(keyring_path)
    keyring.advance(wall_us())
    guard = guard_of(keyring)
    async with pool.connect(postgres_at) as postgres:
        found = await _tokens(postgres)
        before = [row["token_id"] for row in found if not guard.is_token_sound(row)]
        yield
        await RowRewriter(postgres, guard, keyring).adopt()
        async with postgres.connection() as connection:
            await connection.execute(
                "UPDATE tokens SET mac = NULL WHERE token_id = ANY ($1)", before
            )


async def _tokens(postgres: pool.Postgres) -> list[Row]:
    async with postgres.connection() as connection:
        return [
            row["whole"] for row in await connection.fetch("SELECT t AS whole FROM tokens AS t")
        ]


def records(postgres: pool.Postgres, guard: RowGuard) -> PostgresRecords:
    """Return a reader of tokens."""
    return PostgresRecords(postgres, guard)
