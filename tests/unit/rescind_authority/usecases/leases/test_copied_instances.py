"""Sidecars that were copied with their memory, over Postgres in memory; and one that was not."""

import asyncio
import itertools
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.simulation.authority import METRICS
from tests.support.copies import RULES, LeaseAuthority, Process, Rule
from tests.support.postgres_in_memory import Cluster, PostgresInMemory, begun

from rescind.wire.heartbeat import Heartbeat, NoLease, Reply
from rescind_authority.usecases.leases.grant import Granter
from rescind_authority.usecases.ledger.recent_events import RecentEvents
from rescind_runtime.clock import SystemClock


async def check(of: Rule) -> None:
    async def at_once() -> None:
        await asyncio.sleep(0)

    cluster = Cluster(begun(term_ms=10_000, at_us=0), now_us=itertools.count(1).__next__)
    postgres = PostgresInMemory(cluster, at_once)
    granter = Granter(
        postgres,
        recent=RecentEvents(postgres, clock=SystemClock()),
        clock=SystemClock(),
        metrics=METRICS,
    )
    async with asyncio.TaskGroup() as tasks:
        job = tasks.create_task(granter.run())
        await of(LeaseAuthority(granter, postgres))
        job.cancel()


@pytest.mark.parametrize("name", RULES)
def test_the_rules_for_copied_instances_hold_in_memory(name: str) -> None:
    asyncio.run(check(RULES[name]))


@given(
    plan=st.lists(
        st.sampled_from(("answered", "answer lost", "late", "lost", "again")), max_size=60
    ),
    order=st.randoms(use_true_random=False),
)
def test_a_single_process_never_counts_as_two_whatever_is_lost_late_or_repeated(
    plan: list[str], order: Random
) -> None:
    async def live(authority: LeaseAuthority) -> None:
        process, kept = Process(), list[Heartbeat]()
        for what in plan:
            if what == "again" and kept:
                await none_over(authority, order.choice(kept))
                continue
            message = process.heartbeat()
            kept.append(message)
            if what.startswith("answer"):
                answer = await authority.granter.answer(message)
                assert isinstance(answer, Reply)
                if what == "answered":
                    assert process.latest is not None
                    process.attempts.answered(process.latest)
        order.shuffle(kept)
        for message in kept:
            await none_over(authority, message)
        assert await authority.leased(process)

    async def none_over(authority: LeaseAuthority, message: Heartbeat) -> None:
        answer = await authority.granter.answer(message)
        assert not (isinstance(answer, NoLease) and answer.over)

    asyncio.run(check(live))
