"""Sweep in small turns, until killed: `python -m tests.support.lone_sweeper DSN`."""

import asyncio
import os
import sys

from rescind_authority.metrics import Metrics
from rescind_authority.postgres import pool
from rescind_authority.postgres.sweeps import PostgresSweeps
from rescind_authority.postgres.tokens import PostgresTokens
from rescind_authority.usecases.sweep import Sweeper
from rescind_runtime import ready
from rescind_runtime.clock import SystemClock

MOST = 10


async def main(dsn: str) -> None:
    async with pool.connect(dsn) as postgres:
        sweeper = Sweeper(
            PostgresSweeps(postgres),
            tokens=PostgresTokens(postgres),
            clock=SystemClock(),
            metrics=Metrics(),
            most=MOST,
        )
        ready.announce(pid=os.getpid())
        await sweeper.run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
