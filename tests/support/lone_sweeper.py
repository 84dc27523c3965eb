"""A sweeper with small turns, until killed: `python -m tests.support.lone_sweeper DSN`."""

import asyncio
import os
import sys

from rescind_authority.postgres import pool
from rescind_authority.postgres.revoked_marks import PostgresSweeps
from rescind_authority.postgres.token_search import PostgresTokens
from rescind_authority.prometheus import PrometheusMetrics
from rescind_authority.usecases.read_model.revoked_marks import Sweeper
from rescind_runtime import ready_line
from rescind_runtime.clock import SystemClock

MOST = 10


async def main(dsn: str) -> None:
    async with pool.connect(dsn) as postgres:
        sweeper = Sweeper(
            PostgresSweeps(postgres),
            tokens=PostgresTokens(postgres),
            clock=SystemClock(),
            metrics=PrometheusMetrics(),
            most=MOST,
        )
        ready_line.announce(pid=os.getpid())
        await sweeper.run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
