"""Who a server is: what an ordinary role may ask, and what happens where it may not."""

import contextlib
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from structlog.testing import capture_logs
from tests.support.authority import System

from rescind_authority.errors import OldPrimaryError
from rescind_authority.operator import bootstrap
from rescind_authority.postgres import pool
from rescind_authority.postgres.pool import Borrowed
from rescind_authority.postgres.servers import IdentifiedConnection, PostgresServer


async def _identified(dsn: str) -> PostgresServer:
    connection = await asyncpg.connect(dsn, connection_class=IdentifiedConnection)
    try:
        return await connection.identify()
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def _ordinary(system: System) -> AsyncIterator[str]:
    """Create a role with no right but what every role has; yield its DSN."""
    await system.rows("CREATE ROLE ordinary LOGIN")
    try:
        yield system.dsn.replace("//rescind@", "//ordinary@")
    finally:
        await system.rows("DROP ROLE ordinary")


async def test_an_ordinary_role_may_ask_for_system_and_timeline(system: System) -> None:
    known = await _identified(system.dsn)
    assert known.system
    assert known.timeline == 1
    async with _ordinary(system) as dsn:
        assert await _identified(dsn) == known


@pytest.mark.parametrize(
    "function", ["pg_control_system()", "pg_current_wal_lsn()", "pg_walfile_name(pg_lsn)"]
)
async def test_a_role_without_the_permission_to_ask_works_and_this_is_logged_once(
    system: System, function: str
) -> None:
    async with _ordinary(system) as dsn:
        await system.rows(f"REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC")
        with capture_logs() as log:
            async with (
                pool.connect(dsn) as postgres,
                postgres.connection() as one,
                postgres.connection() as two,
            ):
                assert [await each.fetchval("SELECT 1") for each in (one, two)] == [1, 1]
        assert [line["action"] for line in log] == ["postgres.unidentified"]
        assert await _identified(dsn) == PostgresServer(None, None, unidentified=True)


async def test_an_answer_of_a_server_that_was_replaced_meanwhile_is_not_used(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bootstrap.prepare(system.settings)
    known = await _identified(system.dsn)
    assert known.timeline is not None
    newer = dataclasses.replace(known, timeline=known.timeline + 1)
    async with pool.connect(system.dsn) as postgres:
        run = pool.rows

        async def overtaken(connection: Borrowed, query: str, *arguments: object) -> Any:
            found = await run(connection, query, *arguments)
            postgres._servers.primary_changed(newer)
            return found

        assert await postgres.rows("get_term")
        monkeypatch.setattr(pool, "rows", overtaken)
        with pytest.raises(OldPrimaryError):
            await postgres.rows("get_term")
