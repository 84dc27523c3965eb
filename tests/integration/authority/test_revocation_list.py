"""What stands is found at once among all that was ever revoked."""

import asyncio
import re

import asyncpg
import pytest
from tests.support.authority import System
from tests.support.plans import plan_of

from rescind_authority.operator import bootstrap

FILL = """
WITH event AS (
    INSERT INTO events (epoch, seq, payload, head)
    SELECT 1, n, '', sha256(n::text::bytea) FROM generate_series(1, 100000) AS n
    RETURNING seq
)
INSERT INTO revocations
    (revocation_id, epoch, seq, effect, selector, anchor, exact, reason, actor, committed_at)
SELECT
    'rev_' || seq, 1, seq, CASE WHEN seq % 10 = 0 THEN 'suspend' ELSE 'revoke' END,
    ARRAY['subject:agent:' || seq], 'subject:agent:' || seq, false, '', 'ada', now()
FROM event
"""


@pytest.fixture(scope="module")
def years(shared_system: System) -> System:
    """Have a hundred thousand revocations, of which every tenth stands."""

    async def fill() -> None:
        await bootstrap.prepare(shared_system.settings)
        connection = await asyncpg.connect(shared_system.dsn)
        try:
            await connection.execute(FILL)
            await connection.execute("ANALYZE")
        finally:
            await connection.close()

    asyncio.run(fill())
    return shared_system


@pytest.mark.parametrize("before_seq", [None, 500])
async def test_a_page_of_standing_revocations_reads_only_its_index_range(
    years: System, before_seq: int | None
) -> None:
    plan = await plan_of(years, "standing_revocations", before_seq, 51, None)
    assert plan.count("revocations_standing_seq") == 2
    assert "Seq Scan" not in plan
    assert all(int(rows) <= 1 for rows in re.findall(r"Rows Removed by Filter: (\d+)", plan))


@pytest.mark.parametrize("before_seq", [None, 500])
async def test_a_page_of_all_revocations_reads_only_its_index_range(
    years: System, before_seq: int | None
) -> None:
    plan = await plan_of(years, "list_revocations", before_seq, 51)
    assert plan.count("revocations_seq_key") == 2
    assert "Rows Removed" not in plan


async def test_a_search_by_handle_reads_only_standing_revocations(
    years: System,
) -> None:
    plan = await plan_of(years, "standing_revocations", None, 51, ["subject:agent:70000"])
    assert "actual rows=1 " in plan.replace("actual rows=1.00", "actual rows=1")
    assert "Rows Removed by Filter: 9999" in plan
    assert "Seq Scan" not in plan
