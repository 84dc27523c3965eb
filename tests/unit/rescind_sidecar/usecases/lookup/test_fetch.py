"""Where a record comes from: one look-up for all who ask, Redis once, then the authority."""

import asyncio
from collections.abc import Callable
from typing import cast

import pytest
from tests.support.clocks import ManualClock
from tests.support.sidecar import LedgerInMemory, now_us
from tests.support.tables import TablesInMemory

from rescind import Denied, Reason
from rescind.core import token_format
from rescind.core.token_format import TokenHash
from rescind.wire import events, heartbeat
from rescind_sidecar.ports import InstanceCredentials
from rescind_sidecar.random_source import SystemRandomSource
from rescind_sidecar.stats.counters import Counters
from rescind_sidecar.trust_store import FreshKeys, UpdatingTrustStore
from rescind_sidecar.usecases.instance import SidecarInstance, SidecarInstances
from rescind_sidecar.usecases.ledger.catch_up import CatchUp
from rescind_sidecar.usecases.lookup import fetch
from rescind_sidecar.usecases.lookup.answer import TokenLookup, ValidRecord
from rescind_sidecar.usecases.lookup.fetch import Fetch
from rescind_sidecar.usecases.lookup.lookup_budgets import LookupBudgets, LookupLimits, LookupSource
from rescind_sidecar.usecases.lookup.usage_reports import UsageReports
from rescind_sidecar.view.view import View

SECOND_US = 1_000_000
ONE, TWO = LookupSource(user=1, process=1), LookupSource(user=1, process=2)


class NeverBehind:
    async def wait_for(self, seq: int) -> None:
        raise AssertionError(f"no check demands a position, and here {seq} is wanted")


class RecordsInMemory:
    """A second level that gives what it is told to, after what it is told to do first."""

    def __init__(self) -> None:
        self.found: bytes | None = None
        self.asked = 0
        self.meanwhile: Callable[[], None] = lambda: None

    async def find(self, epoch: int, token_hash: bytes) -> bytes | None:
        self.asked += 1
        await asyncio.sleep(0)
        self.meanwhile()
        return self.found


class World:
    def __init__(self, *, limits: LookupLimits | None = None, ring_capacity: int = 8) -> None:
        self.link, self.redis, self.tally = LedgerInMemory(), RecordsInMemory(), Counters()
        self.clock = ManualClock(now_ns=2_000_000_000)
        self.instances = SidecarInstances(TablesInMemory(), FreshKeys(), self.tally)
        table = TablesInMemory().begin(bytes(16))
        self.instances.current = SidecarInstance(
            bytes(16),
            FreshKeys().fresh(),
            View(table, ring_capacity=ring_capacity),
            credentials=InstanceCredentials(bytes(16), self.link.secret(bytes(16))),
        )
        self.at(0)
        self.fetch = Fetch(
            self.instances,
            self.link,
            UpdatingTrustStore(self.link.keyring.trust, wall_us=now_us),
            self.clock,
            self.tally,
            random_source=SystemRandomSource(),
            budgets=LookupBudgets(limits or LookupLimits.of(1_000)),
            shared=self.redis,
        )

    @property
    def view(self) -> View:
        return self.instances.current.view

    def at(self, second: int) -> None:
        """Go there in time, and renew the lease."""
        self.clock.now_ns = now_ns = (2 + second) * 10**9
        at_us = now_us() + second * SECOND_US
        self.view.accept_lease(
            heartbeat.Reply(bytes(16), bytes(16), self.link.position, 10_000, at_us, ()),
            carried=None,
            sent_ns=now_ns - 10**9,
            received_ns=now_ns - 10**9 // 2,
        )

    def revoke(self, *selector: str) -> None:
        self.view.apply_push(events.decode_batch(self.link.revoke(*selector)))

    def lookup(self) -> tuple[TokenLookup, UsageReports]:
        """Return the look-ups of workloads, and the uses that they note."""
        instances, link, clock = self.instances, self.link, self.clock
        uses = UsageReports(instances, link, clock, SystemRandomSource(), self.tally)
        never = cast("CatchUp", NeverBehind())
        return TokenLookup(
            instances, self.fetch, never, uses=uses, clock=clock, tally=self.tally, prefix="rsc"
        ), uses

    async def get(
        self, token: str, *, source: LookupSource = ONE, past_redis: bool = False
    ) -> Reason | None:
        denied = await self.fetch.record(token, source=source, past_redis=past_redis)
        return None if denied is None else denied.reason


@pytest.fixture
def world() -> World:
    return World()


async def test_concurrent_requests_for_the_same_token_make_one_look_up(world: World) -> None:
    token = world.link.issue()
    async with asyncio.TaskGroup() as tasks:
        asking = [tasks.create_task(world.get(token)) for _ in range(500)]
    assert {each.result() for each in asking} == {None}
    assert (world.redis.asked, world.link.resolved) == (1, 1)


async def test_a_request_that_joins_a_look_up_costs_no_budget() -> None:
    world = World(limits=LookupLimits(per_s=1, burst=1))
    token = world.link.issue()
    async with asyncio.TaskGroup() as tasks:
        asking = [tasks.create_task(world.get(token)) for _ in range(50)]
    assert {each.result() for each in asking} == {None}
    assert await world.get(world.link.issue()) is Reason.UNAVAILABLE
    assert await world.get(world.link.issue(), source=TWO) is None
    assert world.tally.looks_over_budget == 1


async def test_a_cancelled_request_does_not_cancel_the_others(world: World) -> None:
    token = world.link.issue()
    world.link.resolving = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(world.get(token))
        second = tasks.create_task(world.get(token, source=TWO))
        await asyncio.sleep(0.01)
        first.cancel()
        world.link.resolving.set()
    assert second.result() is None  # look in memory again, and then for oneself
    assert await world.get(token, source=TWO) is None
    assert world.view.find(token_format.digest(token)) is not None


async def test_a_record_older_than_the_ring_is_asked_for_again(world: World) -> None:
    token = world.link.issue()
    world.redis.found = world.link.encoded(token)
    for _ in range(9):
        world.revoke("tenant:another")
    assert await world.get(token) is None
    assert (world.tally.redis_stale, world.link.resolved) == (1, 1)


async def test_a_revocation_that_overtakes_redis_is_not_undone(world: World) -> None:
    token = world.link.issue("agent:x")
    world.redis.found = world.link.encoded(token)
    world.redis.meanwhile = lambda: world.revoke("subject:agent:x")
    assert await world.get(token) is None
    held = world.view.find(token_format.digest(token))
    assert held is not None
    assert not held.record.live
    assert (world.tally.redis_stale, world.link.resolved) == (1, 1)


async def test_an_ended_token_is_looked_up_at_the_authority_although_redis_still_has_it(
    world: World,
) -> None:
    token = world.link.issue(expires_at_us=now_us() - SECOND_US)
    world.redis.found = world.link.encoded(token)
    assert await world.get(token) is None
    assert (world.tally.redis_stale, world.link.resolved) == (1, 1)


async def test_an_ended_secret_is_looked_up_as_soon_as_its_use_is_reuse_and_then_each_minute(
    world: World,
) -> None:
    """Within the leeway, half a minute, it is none: a request may have been on its way."""
    answer, _ = world.lookup()
    expires_at_us = now_us() + 100 * SECOND_US
    token = world.link.issue(expires_at_us=expires_at_us)
    asked = list[int]()
    for second in (0, 50, 90, 105, 106, 125, 129, 134, 150, 190, 196):
        world.at(second)
        found = await answer.look_up(token, source=ONE)
        assert isinstance(found, ValidRecord) if second < 100 else found == Denied(Reason.EXPIRED)
        asked.append(world.link.resolved)
    assert asked == [1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 4]
    _, at_us, possession = world.link.shown[2]
    assert possession == token_format.possession(token)
    assert at_us > expires_at_us + token_format.REUSE_LEEWAY_US


async def test_a_look_up_by_hash_finds_the_record_and_is_not_a_use_of_the_token(
    world: World,
) -> None:
    answer, uses = world.lookup()
    token = world.link.issue()
    by_hash = TokenHash(token_format.digest(token))
    for _ in range(2):  # from the authority, and from memory
        found = await answer.look_up(by_hash, source=ONE)
        assert isinstance(found, ValidRecord)
    assert (world.link.resolved, world.link.shown, len(uses)) == (1, [], 0)
    unknown = TokenHash(bytes(32))
    assert await answer.look_up(unknown, source=ONE) == Denied(Reason.UNKNOWN)
    world.revoke("*")
    assert await answer.look_up(by_hash, source=ONE) == Denied(Reason.REVOKED)


async def test_a_look_up_by_hash_does_not_delay_the_report_that_an_ended_token_is_presented(
    world: World,
) -> None:
    answer, _ = world.lookup()
    token = world.link.issue(expires_at_us=now_us() + 100 * SECOND_US)
    by_hash = TokenHash(token_format.digest(token))
    world.at(140)
    assert await answer.look_up(by_hash, source=ONE) == Denied(Reason.EXPIRED)
    assert world.link.shown == []
    both = (answer.look_up(each, source=ONE) for each in (by_hash, token))
    assert await asyncio.gather(*both) == [Denied(Reason.EXPIRED)] * 2
    assert len(world.link.shown) == 1


async def test_a_look_up_that_bypasses_redis_asks_only_the_authority(world: World) -> None:
    assert await world.get(world.link.issue(), past_redis=True) is None
    assert (world.redis.asked, world.link.resolved) == (0, 1)


async def test_redis_is_not_asked_before_the_first_lease(world: World) -> None:
    world.instances.begin_anew("a test")
    await world.get(world.link.issue())
    assert world.redis.asked == 0


async def test_an_unknown_token_is_remembered_with_the_instance(world: World) -> None:
    token = LedgerInMemory().issue()
    assert await world.get(token) is Reason.UNKNOWN
    assert world.instances.current.negative_cache.has(token_format.digest(token), 2_000_000_000)
    world.instances.begin_anew("a test")
    assert not len(world.instances.current.negative_cache)


async def test_an_unknown_as_of_an_older_position_than_the_applied_one_is_not_accepted(
    world: World,
) -> None:
    token, older = LedgerInMemory().issue(), world.link.position
    for _ in range(3):
        world.revoke("tenant:another")
    world.link.position = older  # as an old primary would answer
    assert await world.get(token) is None  # look again
    assert not len(world.instances.current.negative_cache)


async def test_an_instance_that_is_not_enrolled_sends_no_look_up(world: World) -> None:
    world.instances.begin_anew("a test")
    assert await world.get(world.link.issue()) is Reason.UNAVAILABLE
    assert world.link.resolved == 0


async def test_an_authority_that_cannot_be_reached_leaves_nothing_remembered(world: World) -> None:
    token = world.link.issue()
    world.link.reachable = False
    assert await world.get(token) is Reason.UNAVAILABLE
    world.link.reachable = True
    assert await world.get(token) is None


async def test_reports_of_use_are_bounded_and_cut_to_size(world: World) -> None:
    uses = UsageReports(
        world.instances,
        world.link,
        world.clock,
        SystemRandomSource(),
        world.tally,
        capacity=2_500,
    )
    for number in range(4_000):
        uses.note(f"tok_{number}")
    assert len(uses) == 2_500
    await uses.report()
    assert [len(report.token_ids) for report in world.link.reported] == [1_000, 1_000, 500]
    assert (world.tally.uses_reported, world.tally.uses_lost) == (2_500, 1_500)
    assert len(uses) == 0


async def test_a_use_that_no_authority_received_is_reported_later_with_its_own_time(
    world: World,
) -> None:
    uses = UsageReports(
        world.instances,
        world.link,
        world.clock,
        SystemRandomSource(),
        world.tally,
        capacity=1_500,
    )
    for number in range(1_200):
        uses.note(f"tok_{number}")
    world.link.reachable = False
    await uses.report()
    assert (len(uses), world.tally.uses_lost) == (1_200, 0)
    for number in range(1_200, 2_000):
        uses.note(f"tok_{number}")
    assert (len(uses), world.tally.uses_lost) == (1_500, 500)
    world.clock.now_ns += 60 * 10**9
    world.link.reachable = True
    await uses.report()
    times = [(len(report.token_ids), report.at_us) for report in world.link.reported]
    assert [count for count, _ in times] == [1_000, 200, 300]
    first, second, third = (at_us for _, at_us in times)
    assert second is not None
    assert third is not None
    assert first == second < third
    assert len(uses) == 0


async def test_look_ups_beyond_the_bound_get_unavailable_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "_MAX_FLIGHTS", 3)
    world.link.resolving = held = asyncio.Event()
    issued = [world.link.issue() for _ in range(4)]
    under_way = [asyncio.create_task(world.get(token)) for token in issued[:3]]
    while world.link.resolved < 3:
        await asyncio.sleep(0)
    assert await world.get(issued[3]) is Reason.UNAVAILABLE
    held.set()
    assert [await task for task in under_way] == [None] * 3
    assert await world.get(issued[3]) is None
