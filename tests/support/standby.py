"""A standby for which every commit waits, and which does not exist."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from tests.support.authority import System
from tests.support.eventually import eventually

from rescind_authority.postgres.pool import SIZE, Postgres


async def fill_pool(postgres: Postgres) -> None:
    """Open every connection of a pool, because none can be opened while commits wait.

    A new connection commits once before its first use.
    """
    async with AsyncExitStack() as borrowed:
        for _ in range(SIZE):
            await borrowed.enter_async_context(postgres.connection())


@asynccontextmanager
async def awaited(system: System) -> AsyncIterator[None]:
    """Make every commit of the block wait for a standby."""
    await system.rows("ALTER SYSTEM SET synchronous_standby_names = 'absent'")
    try:
        await system.rows("SELECT pg_reload_conf()")
        await eventually(lambda: _commits_wait(system))
        yield
    finally:
        await system.rows("ALTER SYSTEM RESET synchronous_standby_names")
        await system.rows("SELECT pg_reload_conf()")


async def cancel_wait(system: System) -> bool:
    """Cancel the commits that wait for a standby; return True if there was one."""
    cancelled = await system.rows(
        """SELECT pg_cancel_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event = 'SyncRep'"""
    )
    return bool(cancelled)


async def _commits_wait(system: System) -> bool:
    """Return True once the new configuration has reached every process: a commit waits."""
    try:
        async with asyncio.timeout(0.3):
            await system.rows("SELECT pg_logical_emit_message(true, 'test', '')")
    except TimeoutError:
        return True
    return False
