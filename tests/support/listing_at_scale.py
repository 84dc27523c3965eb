"""Measure what must not grow with the table: `python -m tests.support.listing_at_scale --help`.

Two databases are made on a server of yours, filled once and kept: one of 10,000 tokens, and a large
one of which a tenth is one tree. Each query alternates between both, so that a busy machine slows
both. Needs a superuser's DSN, and for ten million rows about 16 GB and half an hour the first time.
"""

import argparse
import asyncio
import logging
import random
import re
import secrets
import statistics
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import asyncpg
import structlog
from tests.support import token_generator
from tests.support.rows import guard_of
from tests.support.token_generator import Plan

from rescind.core import public_ids
from rescind.core.handles import Handle, select
from rescind.core.revocation import Effect, Revocation
from rescind.wire.events import Batch
from rescind_authority.ports.ledger import IdempotentRequest, Key
from rescind_authority.ports.token_search import TokenFilter
from rescind_authority.postgres import pool, queries
from rescind_authority.postgres.ledger import PostgresLedger
from rescind_authority.postgres.migrate import Migrator, known
from rescind_authority.postgres.pool import Postgres
from rescind_authority.postgres.records import PostgresRecords
from rescind_authority.postgres.revoked_marks import PostgresSweeps
from rescind_authority.postgres.token_search import PostgresTokens
from rescind_authority.prometheus import PrometheusMetrics
from rescind_authority.usecases.ledger.publisher import Publisher
from rescind_authority.usecases.ledger.recent_events import RecentEvents
from rescind_authority.usecases.ledger.sequencer import LedgerCommand, Sequencer
from rescind_authority.usecases.read_model.revoked_marks import Sweeper
from rescind_authority.usecases.read_model.token_search import (
    NEWEST,
    FoundTokens,
    TokenSearch,
    narrowest_scan,
)
from rescind_runtime.clock import SystemClock, monotonic_raw_ns
from rescind_runtime.crypto.signing import Keyring

SMALL = 10_000
GUARD = guard_of(Keyring.create(root=bytes(32), now_us=0))
STATES = (None, "active", "revoked", "suspended", "expired")
FILTERS: tuple[tuple[str, ...], ...] = (
    (),
    ("subject:agent:bot-3",),
    ("tenant:t0",),
    ("tenant:t1500",),
    ("client:client-7",),
    ("kind:agent",),
    ("label:env=prod",),
    ("label:team=team-7",),
    ("label:incident=i0",),
    ("chain:agent:bot-3",),
    ("tenant:t3", "label:team=team-5", "kind:service"),
)


@dataclass(frozen=True, slots=True)
class Table:
    """A database, and the queries for it."""

    postgres: Postgres
    raw: "asyncpg.Connection[asyncpg.Record]"
    tokens: PostgresTokens
    lister: TokenSearch
    sequencer: Sequencer
    root: str
    hashes: list[bytes]
    token_ids: list[str]


class SilentAnnouncer:
    """An announcer that sends nothing."""

    def announce(self, batch: Batch) -> None:
        """Send nothing."""


async def main(dsn: str, rows: int, rounds: int, *, plans: bool) -> None:
    async with AsyncExitStack() as stack:
        small, large = [
            await stack.enter_async_context(_table(dsn, number)) for number in (SMALL, rows)
        ]
        _say(f"{'':44}{SMALL:>14,}{rows:>14,}")
        await _lists(small, large, rounds)
        await _sights(small, large, rounds)
        await _revokes(large, rounds)
        await _sweep(large)
        _say("and once more, with a tenth of them revoked and stamped")
        await _lists(small, large, rounds)
        if plans:
            await _plans(large)


async def _lists(small: Table, large: Table, rounds: int) -> None:
    for names in FILTERS:
        for state in STATES:
            wanted = TokenFilter(tuple(map(Handle, names)), state)
            what = f"{' '.join(names) or 'all'} {state or ''}"
            both = (small, large)
            await _compare(f"page  {what}", [partial(_page, each, wanted) for each in both], rounds)
            counts = [partial(each.lister.count, wanted) for each in both]
            await _compare(f"count {what}", counts, rounds)


async def _page(table: Table, wanted: TokenFilter) -> FoundTokens:
    """Fetch a page, and read the fields that it shows of each token."""
    found = await table.lister.page(wanted, before=None, limit=50)
    await PostgresRecords(table.postgres, GUARD).by_id(found.token_ids)
    return found


async def _sights(small: Table, large: Table, rounds: int) -> None:
    """Measure look-ups of tokens not requested before, so most rows were not read lately."""

    def first(table: Table) -> Callable[[], Awaitable[object]]:
        unseen, records = iter(table.hashes), PostgresRecords(table.postgres, GUARD)
        return lambda: records.by_hash([next(unseen)])

    await _compare("first sight", [first(small), first(large)], min(rounds * 20, 1_000))


async def _revokes(large: Table, rounds: int) -> None:
    size = await large.raw.fetchval("SELECT estimate_tokens($1)", [f"tree:{large.root}"])
    _say(f"\nrevoke: of one token, and of a tree of about {size:,}")
    unseen = iter(large.token_ids)
    await _compare(
        "commit",
        [
            lambda: _revoke(large, f"token:{next(unseen)}", exact=True),
            lambda: _revoke(large, f"tree:{large.root}", exact=False),
        ],
        rounds * 5,
    )
    # A tree is seldom revoked so often: one of each is left for the sweep, and to be listed.
    await large.raw.execute("UPDATE sweep SET seq = (SELECT seq FROM ledger_head)")
    await large.raw.execute("DELETE FROM revocations")
    await _revoke(large, f"token:{next(unseen)}", exact=True)
    await _revoke(large, f"tree:{large.root}", exact=False)


async def _revoke(table: Table, handle: str, *, exact: bool) -> None:
    name = public_ids.make("rev", now_ms=0, entropy=secrets.token_bytes(public_ids.ENTROPY_BYTES))
    revocation = Revocation(
        revocation_id=name,
        selector=select([handle], exact=exact),
        effect=Effect.REVOKE,
        reason="measured",
        actor="test",
    )
    await table.sequencer.commit(
        LedgerCommand(IdempotentRequest(Key("test", name), bytes(32)), revocation, exact)
    )


async def _sweep(table: Table) -> None:
    sweeper = Sweeper(
        PostgresSweeps(table.postgres),
        tokens=table.tokens,
        clock=SystemClock(),
        metrics=PrometheusMetrics(),
    )
    before = await table.raw.fetchval("SELECT count(*) FROM revoked_tokens")
    began_ns, longest_ns = monotonic_raw_ns(), 0
    while True:
        turn_ns = monotonic_raw_ns()
        await sweeper.step()
        longest_ns = max(longest_ns, monotonic_raw_ns() - turn_ns)
        if not sweeper.waiting:
            break
    seconds = (monotonic_raw_ns() - began_ns) / 1e9
    stamped = await table.raw.fetchval("SELECT count(*) FROM revoked_tokens") - before
    _say(
        f"\nsweep: {stamped:,} stamped in {seconds:.1f} s of work, {stamped / seconds:,.0f}/s; "
        f"the longest turn took {longest_ns / 1e6:.0f} ms"
    )


async def _plans(table: Table) -> None:
    for names in FILTERS:
        way = narrowest_scan(tuple(map(Handle, names)))
        asked = (way.index, way.name, NEWEST, "", 1_000, names, None, None, "active", 51)
        explained = await table.raw.fetch(
            f"EXPLAIN (ANALYZE, COSTS OFF) {queries.read('walk_tokens')}", *asked
        )
        _say(f"\n{' '.join(names) or 'all'}, active")
        _say("\n".join(row[0] for row in explained if "never executed" not in row[0]))


async def _compare(
    what: str, sides: Sequence[Callable[[], Awaitable[object]]], rounds: int
) -> None:
    """Print median and 99th percentile of each side (ms), and the ratio of the medians."""
    taken: list[list[float]] = [[] for _ in sides]
    answers: list[object] = [None for _ in sides]
    for _ in range(rounds):
        for place, side in enumerate(sides):
            began_ns = monotonic_raw_ns()
            answers[place] = await side()
            taken[place].append((monotonic_raw_ns() - began_ns) / 1e6)
    cells = [
        f"{statistics.median(each):6.2f}/{sorted(each)[len(each) * 99 // 100]:6.2f} "
        for each in taken
    ]
    ratio = statistics.median(taken[1]) / statistics.median(taken[0])
    _say(f"{what[:44]:44}{''.join(cells)} {ratio:6.2f} x   {_short(answers[-1])}")


def _short(answer: Any) -> str:
    if hasattr(answer, "token_ids"):
        return f"{len(answer.token_ids)} {'and more' if answer.next else ''}"
    return (
        f"{answer.tokens:,} {'' if answer.exact else 'about'}" if hasattr(answer, "exact") else ""
    )


@asynccontextmanager
async def _table(dsn: str, rows: int) -> AsyncGenerator[Table]:
    name = f"listing_{rows}"
    server = await asyncpg.connect(dsn)
    made = await server.fetchval("SELECT true FROM pg_database WHERE datname = $1", name)
    if not made:
        await server.execute(f"CREATE DATABASE {name}")
    await server.close()
    dsn = re.sub(r"/postgres(?=\?|$)", f"/{name}", dsn)
    raw = await asyncpg.connect(dsn)
    async with pool.connect(dsn) as postgres:
        async with Migrator(postgres).alone() as schema:
            await schema.migrate(known())
            await schema.begin_ledger(term_ms=10_000)
        if not made:
            _say(f"filling {rows:,}")
            plan = Plan(rows=rows, until=datetime.now(UTC), tree=rows // 10)
            await token_generator.fill(raw, plan)
        ledger = PostgresLedger(postgres, GUARD)
        sequencer = Sequencer(
            ledger,
            publisher=Publisher(
                announcer=SilentAnnouncer(), recent=RecentEvents(ledger, clock=SystemClock())
            ),
            clock=SystemClock(),
            metrics=PrometheusMetrics(),
        )
        some = await raw.fetch(
            "SELECT token_id, token_hash FROM tokens TABLESAMPLE SYSTEM ($1)",
            min(100.0, 100 * 20_000 / rows),
        )
        random.shuffle(some)
        tokens = PostgresTokens(postgres)
        async with asyncio.TaskGroup() as tasks:
            working = tasks.create_task(sequencer.run())
            yield Table(
                postgres=postgres,
                raw=raw,
                tokens=tokens,
                lister=TokenSearch(tokens, clock=SystemClock()),
                sequencer=sequencer,
                root=await raw.fetchval("SELECT min(token_id) FROM tokens"),
                hashes=[row["token_hash"] for row in some],
                token_ids=[row["token_id"] for row in some],
            )
            working.cancel()
    await raw.close()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dsn", required=True, help="postgresql://superuser@host/postgres")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--plans", action="store_true", help="print the plans too")
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    asyncio.run(main(given.dsn, given.rows, given.rounds, plans=given.plans))
