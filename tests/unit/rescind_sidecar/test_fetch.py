"""Where a record comes from: one look-up for all who ask, Redis once, then the authority."""

import asyncio
from collections.abc import Callable

import pytest
from tests.support.sidecar import LedgerInMemory, now_us

from rescind import Denied, Reason
from rescind.core import tokens
from rescind.core.generations import HEADER_WORDS, Writer
from rescind.wire import events, heartbeat
from rescind_sidecar.dice import SystemDice
from rescind_sidecar.notary import FreshKeys, TrustNotary
from rescind_sidecar.ports import Voice
from rescind_sidecar.usecases.answer import Answer, Found
from rescind_sidecar.usecases.budget import Allowance, Budget, Source
from rescind_sidecar.usecases.fetch import Fetch
from rescind_sidecar.usecases.incarnations import Incarnation, Incarnations
from rescind_sidecar.usecases.tally import Tally
from rescind_sidecar.usecases.used import Uses
from rescind_sidecar.view.view import View

SLOTS = 64
SECOND_US = 1_000_000
ONE, TWO = Source(user=1, process=1), Source(user=1, process=2)


class TablesInMemory:
    def begin(self, instance: bytes) -> Writer:
        words = memoryview(bytearray((HEADER_WORDS + SLOTS) * 8)).cast("Q")
        return Writer(words, instance=instance, boot=bytes(16), slots=SLOTS)

    def retire(self) -> None:
        pass


class ManualClock:
    now_ns = 2_000_000_000

    def boottime_ns(self) -> int:
        return self.now_ns


class NeverBehind:
    async def to(self, seq: int) -> None:
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
    def __init__(self, *, allowance: Allowance | None = None, ring_capacity: int = 8) -> None:
        self.link, self.redis, self.tally = LedgerInMemory(), RecordsInMemory(), Tally()
        self.clock = ManualClock()
        self.incarnations = Incarnations(TablesInMemory(), FreshKeys(), self.tally)
        table = TablesInMemory().begin(bytes(16))
        self.incarnations.current = Incarnation(
            bytes(16),
            FreshKeys().fresh(),
            View(table, ring_capacity=ring_capacity),
            voice=Voice(bytes(16), self.link.secret(bytes(16))),
        )
        self.at(0)
        self.fetch = Fetch(
            self.incarnations,
            self.link,
            TrustNotary(self.link.keyring.trust),
            self.clock,
            self.tally,
            budget=Budget(allowance or Allowance.of(1_000)),
            shared=self.redis,
        )

    @property
    def view(self) -> View:
        return self.incarnations.current.view

    def at(self, second: int) -> None:
        """Go there in time, and renew the lease."""
        self.clock.now_ns = now_ns = (2 + second) * 10**9
        at_us = now_us() + second * SECOND_US
        self.view.renewed(
            heartbeat.Reply(bytes(16), bytes(16), self.link.position, 10_000, at_us, ()),
            carried=None,
            sent_ns=now_ns - 10**9,
            received_ns=now_ns - 10**9 // 2,
        )

    def revoke(self, *selector: str) -> None:
        self.view.pushed(events.decode_batch(self.link.revoke(*selector)))

    async def get(
        self, token: str, *, source: Source = ONE, past_redis: bool = False
    ) -> Reason | None:
        denied = await self.fetch.record(tokens.digest(token), source=source, past_redis=past_redis)
        return denied and denied.reason


@pytest.fixture
def world() -> World:
    return World()


async def test_many_who_ask_for_the_same_token_make_one_look_up(world: World):
    token = world.link.issue()
    async with asyncio.TaskGroup() as tasks:
        asking = [tasks.create_task(world.get(token)) for _ in range(500)]
    assert {each.result() for each in asking} == {None}
    assert (world.redis.asked, world.link.resolved) == (1, 1)


async def test_who_joins_a_look_up_pays_nothing_for_it():
    world = World(allowance=Allowance(per_s=1, burst=1))
    token = world.link.issue()
    async with asyncio.TaskGroup() as tasks:
        asking = [tasks.create_task(world.get(token)) for _ in range(50)]
    assert {each.result() for each in asking} == {None}
    assert await world.get(world.link.issue()) is Reason.UNAVAILABLE
    assert await world.get(world.link.issue(), source=TWO) is None
    assert world.tally.looks_over_budget == 1


async def test_a_cancelled_asker_takes_nobody_along(world: World):
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
    assert world.view.look(tokens.digest(token)) is not None


async def test_a_record_older_than_the_ring_is_asked_for_again(world: World):
    token = world.link.issue()
    world.redis.found = world.link.encoded(token)
    for _ in range(9):
        world.revoke("tenant:another")
    assert await world.get(token) is None
    assert (world.tally.redis_stale, world.link.resolved) == (1, 1)


async def test_a_revocation_that_overtakes_redis_is_not_undone(world: World):
    token = world.link.issue("agent:x")
    world.redis.found = world.link.encoded(token)
    world.redis.meanwhile = lambda: world.revoke("subject:agent:x")
    assert await world.get(token) is None
    held = world.view.look(tokens.digest(token))
    assert held is not None
    assert not held.record.live
    assert (world.tally.redis_stale, world.link.resolved) == (1, 1)


async def test_of_what_has_ended_the_authority_hears_although_redis_still_has_it(world: World):
    token = world.link.issue(expires_at_us=now_us() - SECOND_US)
    world.redis.found = world.link.encoded(token)
    assert await world.get(token) is None
    assert (world.tally.redis_stale, world.link.resolved) == (1, 1)


async def test_of_an_ended_secret_that_comes_again_the_authority_hears_once_a_minute(world: World):
    """Within the leeway the first time it is no reuse; later, in other hands, it is."""
    answer = Answer(
        world.incarnations,
        world.fetch,
        NeverBehind(),
        uses=Uses(world.incarnations, world.link, SystemDice(), world.tally),
        clock=world.clock,
        tally=world.tally,
        prefix="rsc",
    )
    token = world.link.issue(expires_at_us=now_us() + 100 * SECOND_US)
    asked = list[int]()
    for second in (0, 50, 90, 105, 106, 150, 160, 166, 167, 200, 230):
        world.at(second)
        found = await answer.look(token, source=ONE)
        assert isinstance(found, Found) if second < 100 else found == Denied(Reason.EXPIRED)
        asked.append(world.link.resolved)
    assert asked == [1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 4]


async def test_past_redis_only_the_authority_is_asked(world: World):
    assert await world.get(world.link.issue(), past_redis=True) is None
    assert (world.redis.asked, world.link.resolved) == (0, 1)


async def test_redis_is_not_asked_before_the_first_lease(world: World):
    world.incarnations.begin_anew("a test")
    await world.get(world.link.issue())
    assert world.redis.asked == 0


async def test_an_unknown_token_is_remembered_with_the_instance(world: World):
    token = LedgerInMemory().issue()
    assert await world.get(token) is Reason.UNKNOWN
    assert world.incarnations.current.unknowns.has(tokens.digest(token), 2_000_000_000)
    world.incarnations.begin_anew("a test")
    assert not len(world.incarnations.current.unknowns)


async def test_an_authority_that_cannot_be_reached_leaves_nothing_remembered(world: World):
    token = world.link.issue()
    world.link.reachable = False
    assert await world.get(token) is Reason.UNAVAILABLE
    world.link.reachable = True
    assert await world.get(token) is None


async def test_reports_of_use_are_bounded_and_cut_to_size(world: World):
    uses = Uses(world.incarnations, world.link, SystemDice(), world.tally, capacity=2_500)
    for number in range(4_000):
        uses.note(f"tok_{number}")
    assert len(uses) == 2_500
    await uses.report()
    assert [len(report.token_ids) for report in world.link.reported] == [1_000, 1_000, 500]
    assert (world.tally.uses_reported, world.tally.uses_lost) == (2_500, 1_500)
    assert len(uses) == 0
