"""Functions that hold the sweep back, or wait for it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import asyncpg
from tests.support.authority import System
from tests.support.eventually import eventually


@asynccontextmanager
async def forbidden_to_sweep(system: System) -> AsyncGenerator[None]:
    """Hold the lock of the sweep for the block, as another authority would, without sweeping."""
    connection = await asyncpg.connect(system.dsn)
    try:
        async with connection.transaction():
            await connection.execute("SELECT FROM sweep FOR UPDATE")
            yield
    finally:
        await connection.close()


async def swept(system: System) -> None:
    """Wait until every revoke is swept."""

    async def done() -> bool:
        found = await system.rows("SELECT s.seq >= h.seq FROM sweep AS s, ledger_head AS h")
        return bool(found[0][0])

    await eventually(done)


async def stamps(system: System) -> dict[str, int]:
    """Return the revoke that ended each token."""
    found = await system.rows("SELECT token_id, seq FROM revoked_tokens")
    return {row["token_id"]: row["seq"] for row in found}
