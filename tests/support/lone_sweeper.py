"""A sweeper with small turns, which hangs in one: `python -m tests.support.lone_sweeper DSN`."""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from rescind_authority.postgres import pool
from rescind_authority.postgres.pool import Postgres
from rescind_authority.postgres.revoked_marks import PostgresSweeps, PostgresSweepTransaction
from rescind_authority.postgres.token_search import PostgresTokens
from rescind_authority.prometheus import PrometheusMetrics
from rescind_authority.usecases.read_model.revoked_marks import Sweeper
from rescind_runtime import ready_line
from rescind_runtime.clock import SystemClock

MOST = 10
WHOLE = 3 * MOST
"""How many tokens it stamps in whole turns. The next turn stamps, and does not end."""


class HangingSweeps(PostgresSweeps):
    """Sweeps of which only the first ones end."""

    def __init__(self, postgres: Postgres) -> None:
        super().__init__(postgres)
        self._turns = 0

    @asynccontextmanager
    async def turn(self) -> AsyncGenerator[PostgresSweepTransaction | None]:
        """Take a turn; hang before the commit of one that is too many."""
        async with super().turn() as turn:
            yield turn
            self._turns += 1
            if self._turns * MOST > WHOLE:
                await asyncio.Event().wait()


async def main(dsn: str) -> None:
    async with pool.connect(dsn) as postgres:
        sweeper = Sweeper(
            HangingSweeps(postgres),
            tokens=PostgresTokens(postgres),
            clock=SystemClock(),
            metrics=PrometheusMetrics(),
            most=MOST,
        )
        ready_line.announce(pid=os.getpid())
        await sweeper.run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
