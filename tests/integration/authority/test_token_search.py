"""Lists and counts among 200,000 tokens: every filter has its index, and every page comes."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from tests.support import token_generator
from tests.support.authority import Running, System, serving
from tests.support.plans import plan_of
from tests.support.token_generator import Plan

from rescind.core.handles import Handle
from rescind_authority.operator import bootstrap
from rescind_authority.ports.token_search import TokenFilter
from rescind_authority.postgres import pool
from rescind_authority.postgres.token_search import PostgresTokens
from rescind_authority.usecases.read_model import token_search
from rescind_authority.usecases.read_model.token_search import TokenSearch
from rescind_runtime.clock import SystemClock

PLAN = Plan(rows=200_000, until=datetime.now(UTC) - timedelta(minutes=1), tree=20_000)
NEWEST = "tok_" + "z" * 27


@pytest.fixture(scope="module")
def crowd(shared_system: System) -> System:
    """Issue as years would."""
    asyncio.run(_fill(shared_system))
    return shared_system


async def _fill(system: System) -> None:
    await bootstrap.prepare(system.settings)
    connection = await asyncpg.connect(system.dsn)
    try:
        await token_generator.fill(connection, PLAN)
    finally:
        await connection.close()


@dataclass
class FrozenClock(SystemClock):
    """No page is ever cut short for the time that it took."""

    def monotonic_raw_ns(self) -> int:
        return 0


@dataclass
class SlowStepClock(SystemClock):
    """Every page is cut short after its first steps."""

    ns: int = 0

    def monotonic_raw_ns(self) -> int:
        self.ns += 1_000_000_000
        return self.ns


def filter_of(*handles: str, **rest: Any) -> TokenFilter:
    return TokenFilter(tuple(Handle(each) for each in handles), **rest)


async def pages(lister: TokenSearch, wanted: TokenFilter, *, limit: int) -> list[Sequence[str]]:
    found: list[Sequence[str]] = []
    before = None
    while True:
        page = await lister.page(wanted, before=before, limit=limit)
        found.append(page.token_ids)
        if page.next is None:
            return found
        before = page.next


@pytest.mark.parametrize("state", [None, "active", "revoked"])
@pytest.mark.parametrize(
    ("handles", "index"),
    [
        ([], "tokens_pkey"),
        (["subject:agent:bot-3"], "tokens_subject"),
        (["client:client-7"], "tokens_client"),
        (["tenant:bygone"], "tokens_tenant"),
        (["tenant:t7", "label:env=prod"], "tokens_tenant"),
        (["label:env=prod"], "tokens_pkey"),
        (["kind:agent"], "tokens_pkey"),
    ],
)
async def test_a_walk_uses_its_index_and_reads_no_more_rows_than_its_limit(
    crowd: System, handles: list[str], index: str, state: str | None
) -> None:
    way = token_search.narrowest_scan(filter_of(*handles).handles)
    plan = await plan_of(
        crowd,
        "walk_tokens",
        *(way.index, way.name, NEWEST, "", 1_000, handles, None, None, state, 51),
    )
    assert f"using {index} on tokens" in plan
    assert "Seq Scan on tokens" not in plan
    assert "Bitmap" not in plan
    gone_past = re.findall(r"using tokens_\w+ on tokens .*?actual rows=([0-9]+)", plan)
    assert max(map(int, gone_past)) <= 1_000


@pytest.mark.parametrize(
    "handles",
    [
        ["session:s77779"],
        [f"tree:{token_generator.token_id(PLAN, 100_000)}"],
        ["chain:agent:a77"],
        ["label:incident=i0"],
        ["label:incident=i0", "kind:agent"],
        ["tenant:bygone", "label:team=team-3"],
    ],
)
async def test_rare_tokens_are_found_through_the_index_of_handles(
    crowd: System, handles: list[str]
) -> None:
    plan = await plan_of(
        crowd, "few_tokens", handles, NEWEST, None, None, "active", token_search.EXACT_UP_TO, 51
    )
    assert "Bitmap Index Scan on tokens_handles" in plan
    assert "Seq Scan on tokens" not in plan
    async with pool.connect(crowd.dsn) as postgres:
        assert await PostgresTokens(postgres).estimate([Handle(each) for each in handles]) < 50_000


@pytest.mark.parametrize("clock", [FrozenClock(), SlowStepClock()], ids=["patient", "hasty"])
@pytest.mark.parametrize(
    "wanted",
    [
        filter_of("tenant:bygone"),
        filter_of("label:incident=i0"),
        filter_of("label:env=dev", "kind:service"),
        filter_of("tenant:t3", "label:team=team-5"),
        filter_of("subject:agent:bot-3", state="expired"),
        filter_of("tenant:nobody"),
    ],
    ids=str,
)
async def test_the_pages_list_every_token_once_and_newest_first(
    crowd: System, wanted: TokenFilter, clock: SystemClock
) -> None:
    expected = [
        row["token_id"]
        for row in await crowd.rows(
            """
            SELECT token_id FROM tokens
            WHERE handles @> $1 AND ($2::text IS NULL OR expires_at <= now())
            ORDER BY token_id DESC
            """,
            list(wanted.handles),
            wanted.state,
        )
    ]
    async with pool.connect(crowd.dsn) as postgres:
        found = await pages(TokenSearch(PostgresTokens(postgres), clock=clock), wanted, limit=200)
    assert [token_id for page in found for token_id in page] == expected
    assert max(map(len, found)) <= 200


async def test_a_page_that_takes_too_long_is_cut_short_and_has_a_cursor_to_continue(
    crowd: System,
) -> None:
    oldest = filter_of(f"tree:{PLAN.root}")
    async with pool.connect(crowd.dsn) as postgres:
        page = await TokenSearch(PostgresTokens(postgres), clock=SlowStepClock()).page(
            oldest, before=None, limit=50
        )
    assert not page.token_ids
    assert page.next is not None


async def test_a_filter_by_time_seeks_directly_to_its_rows(crowd: System) -> None:
    after, before = PLAN.until - timedelta(days=20), PLAN.until - timedelta(days=19)
    wanted = filter_of(
        "kind:service",
        issued_after_us=int(after.timestamp() * 1e6),
        issued_before_us=int(before.timestamp() * 1e6),
    )
    expected = await crowd.rows(
        """
        SELECT token_id FROM tokens
        WHERE kind = 'service' AND issued_at >= $1 AND issued_at < $2 ORDER BY token_id DESC
        """,
        after,
        before,
    )
    async with pool.connect(crowd.dsn) as postgres:
        found = await pages(
            TokenSearch(PostgresTokens(postgres), clock=SlowStepClock()), wanted, limit=10_000
        )
    assert [each for page in found for each in page] == [row["token_id"] for row in expected]
    assert len(found) < 12  # of 200 that the whole table is


@pytest.mark.parametrize(
    "handles",
    [
        ["tenant:bygone"],
        ["label:incident=i0"],
        ["client:client-3"],
        ["chain:agent:a77"],
        ["kind:x"],
    ],
    ids=str,
)
@pytest.mark.parametrize("state", [None, "active"])
async def test_a_count_of_at_most_10_000_is_exact(
    crowd: System, handles: list[str], state: str | None
) -> None:
    expected = await _counted(crowd, handles, state)
    async with pool.connect(crowd.dsn) as postgres:
        counted = await TokenSearch(PostgresTokens(postgres), clock=FrozenClock()).count(
            filter_of(*handles, state=state)
        )
    assert (counted.tokens, counted.exact) == (expected, True)


async def test_a_count_of_recent_tokens_is_exact_in_a_large_table(crowd: System) -> None:
    since = PLAN.until - timedelta(hours=12)
    expected = await crowd.rows("SELECT count(*) FROM tokens WHERE issued_at >= $1", since)
    wanted = filter_of(issued_after_us=int(since.timestamp() * 1e6))
    async with pool.connect(crowd.dsn) as postgres:
        counted = await TokenSearch(PostgresTokens(postgres), clock=FrozenClock()).count(wanted)
    assert (counted.tokens, counted.exact) == (expected[0][0], True)


@pytest.mark.parametrize(
    "wanted",
    [filter_of(), filter_of(state="expired"), filter_of("label:env=prod"), filter_of("tenant:t0")],
    ids=str,
)
async def test_a_count_of_many_is_an_estimate_and_is_marked_as_one(
    crowd: System, wanted: TokenFilter
) -> None:
    expected = await _counted(crowd, wanted.handles, wanted.state)
    async with pool.connect(crowd.dsn) as postgres:
        counted = await TokenSearch(PostgresTokens(postgres), clock=SlowStepClock()).count(wanted)
    assert not counted.exact
    assert counted.tokens == pytest.approx(expected, rel=0.25)


async def test_the_api_takes_every_filter_alone_and_together(system: System) -> None:
    async with serving(system) as authority:
        issued = await authority.issue(
            "agent:a", tenant="t", client="c", session="s", labels={"k": "v", "n": "1"}
        )
        await authority.issue("agent:b")
        each: dict[str, Any] = {
            "subject": "agent:a",
            "chain": "agent:a",
            "tree": issued["token_id"],
            "tenant": "t",
            "client": "c",
            "session": "s",
            "label": ["k=v", "n=1"],
            "issued_before": datetime.now(UTC).isoformat(),
            "state": "active",
            "kind": "agent",
        }
        for chosen in (*({name: each[name]} for name in each), each):
            found = await _listed(authority, chosen)
            assert issued["token_id"] in found, chosen
            counted = (await authority.http.get("/v1/tokens/count", params=chosen)).json()
            assert counted == {"count": len(found), "exact": True}
        assert len(await _listed(authority, each)) == 1
        later = {"issued_after": (datetime.now(UTC) + timedelta(minutes=1)).isoformat()}
        assert await _listed(authority, later) == []
        for wrong in (
            {"tree": "tok_x"},
            {"issued_after": "soon"},
            {"label": "k"},
            {"color": "red"},
        ):
            answer = await authority.http.get("/v1/tokens/count", params=wrong)
            assert answer.status_code == 422, wrong


async def _listed(authority: Running, chosen: dict[str, Any]) -> list[str]:
    page = (await authority.http.get("/v1/tokens", params=chosen)).json()
    assert page["next"] is None
    return [each["token_id"] for each in page["tokens"]]


async def _counted(system: System, handles: Sequence[str], state: str | None) -> int:
    found = await system.rows(
        """
        SELECT count(*) FROM token_states
        WHERE handles @> $1 AND ($2::text IS NULL OR state = $2)
        """,
        list(handles),
        state,
    )
    return int(found[0][0])
