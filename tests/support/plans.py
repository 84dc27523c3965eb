"""The plans of Postgres for a query file: the index that is used, and how far."""

from typing import cast

import asyncpg
from tests.support.authority import System

from rescind_authority.postgres import queries


async def plan_of(system: System, query: str, *arguments: object) -> str:
    """Return the plan of the first run, and the generic plan after many runs."""
    connection = await asyncpg.connect(system.dsn)
    try:
        await connection.execute(f"PREPARE asked AS {queries.read(query)}")
        literals = ", ".join(map(_literal, arguments))
        plans: list[str] = []
        for mode in ("force_custom_plan", "force_generic_plan"):
            await connection.execute(f"SET plan_cache_mode = {mode}")
            explained = await connection.fetch(
                f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) EXECUTE asked ({literals})"
            )
            plans += [row[0] for row in explained]
        return "\n".join(line for line in plans if "never executed" not in line)
    finally:
        await connection.close()


def _literal(argument: object) -> str:
    if argument is None:
        return "NULL"
    if isinstance(argument, list):
        return "'{" + ",".join(cast("list[str]", argument)) + "}'"
    return f"'{argument}'"
