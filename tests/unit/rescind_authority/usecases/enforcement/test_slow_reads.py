"""A read of Postgres may take seconds: clocks are read after it, so that nothing is over too early.

A lease row stands for a lease that began when the row was written. The authority sees the row
when its read returns, and may count from then on, never from when the read began (design 7).
"""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.simulation.trust import Keys
from tests.support import virtual_time
from tests.support.clocks import LoopClock
from tests.support.ledger_entries import append
from tests.support.postgres_in_memory import Cluster, PostgresInMemory, TermsInMemory, begun

from rescind.core import lease
from rescind.core.handles import Handle, Selector
from rescind.core.receipt import Outcome, Receipt
from rescind.core.revocation import Revocation
from rescind.wire import receipts, signed_envelope
from rescind.wire.heartbeat import AckRequest, Heartbeat, Release
from rescind_authority.ports.leases import Term, WaitSnapshot
from rescind_authority.ports.ledger import CommittedEvent
from rescind_authority.usecases.enforcement import row_watch
from rescind_authority.usecases.enforcement.acknowledgements import Acknowledgements
from rescind_authority.usecases.enforcement.enforcer import Enforcer
from rescind_authority.usecases.leases.lease_term import LeaseTermScheduler

TERM_S = 1.0
INSTANCE = bytes(16)
SLOW_S = 10.0
READ = (0.0, 0.0)
"""What a read takes before its snapshot, and from there until it returns."""


class SilentCaller:
    """Send nothing (port Caller)."""

    def call(self, wanted: AckRequest) -> None:
        pass


class SlowPostgres(PostgresInMemory):
    """Delay each read of the lease rows as the test says, and nothing else."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster, at_once)
        self.reads: list[tuple[float, float]] = []

    async def waiting(self, revocation_id: str | None = None) -> WaitSnapshot:
        before_s, after_s = self.reads.pop(0) if self.reads else READ
        await asyncio.sleep(before_s)
        seen = await super().waiting(revocation_id)
        await asyncio.sleep(after_s)
        return seen


class World:
    """An enforcer, and one sidecar that beats and never acknowledges."""

    def __init__(self, *reads: tuple[float, float]) -> None:
        clock = LoopClock()
        self.cluster = Cluster(begun(term_ms=int(TERM_S * 1000), at_us=0), now_us=clock.wall_us)
        self.postgres = SlowPostgres(self.cluster)
        self.postgres.reads = list(reads)
        self.enforcer = Enforcer(
            self.postgres,
            acknowledgements=Acknowledgements(clock),
            keys=Keys(),
            caller=SilentCaller(),
            clock=clock,
        )
        self.beats: list[float] = []
        self.released = False
        self._counter = count(1)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(self.enforcer.run())
            yield
            running.cancel()

    async def beat(self, at_s: float) -> None:
        """Beat, and get a lease from then on for the term, ignorant of what is committed later."""
        await until(at_s)
        beat = Heartbeat(
            INSTANCE, bytes(16), next(self._counter), None, "search", "host", "0", "strict"
        )
        assert (await self.postgres.beat([beat])).counted
        self.beats.append(now_s())

    async def release(self, at_s: float) -> None:
        await until(at_s)
        self.released = True
        await self.postgres.release([Release(INSTANCE, next(self._counter))])

    async def revoke(self, name: str, at_s: float) -> Receipt:
        """Commit a revocation, wait for its receipt, and see that no lease outlives that."""
        await until(at_s)
        async with self.postgres.begin() as transaction:
            revocation = Revocation(name, Selector((Handle("tenant:a"),)), "revoke", "", "ada")
            (entry,) = await append(transaction, [revocation])
        ignorant = max(self.beats, default=-TERM_S)
        event = entry.event
        target = CommittedEvent(name, event.epoch, event.seq, event.at_us)
        envelope = await self.enforcer.receipt(target, timeout_s=100)
        assert isinstance(envelope, bytes)
        outlived = not self.released and now_s() < ignorant + TERM_S
        assert not outlived, f"a lease of {ignorant} s outlives the receipt of {now_s()} s"
        return receipts.decode(signed_envelope.decode(envelope).content)


async def at_once() -> None:
    await asyncio.sleep(0)


def now_s() -> float:
    return asyncio.get_running_loop().time()


async def until(at_s: float) -> None:
    await asyncio.sleep(max(0.0, at_s - now_s()))


def play(world: World, *acts: Coroutine[Any, Any, object]) -> list[object]:
    """Run these acts side by side, in virtual time."""

    async def live() -> list[object]:
        async with world.running():
            async with asyncio.TaskGroup() as tasks:
                done = [tasks.create_task(act) for act in acts]
            return [each.result() for each in done]

    return virtual_time.run(live())


def test_a_row_that_the_slow_read_of_the_watch_found_is_watched_from_its_end() -> None:
    world = World((SLOW_S, 0.0))
    play(world, world.beat(SLOW_S - 0.1), world.revoke("rev_1", SLOW_S + 0.1))


def test_a_row_that_the_slow_read_of_a_wait_found_is_watched_from_its_end() -> None:
    """The wait of the first revocation reads slowly; the second one counts from what it noted."""
    world = World(READ, (SLOW_S, 0.0))
    play(
        world,
        world.revoke("rev_1", 0.5),
        world.beat(SLOW_S + 0.4),
        world.revoke("rev_2", SLOW_S + 0.6),
    )


def test_a_row_that_a_slow_read_found_is_swept_only_after_the_whole_silence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(row_watch, "_SILENT_NS", 4 * 10**9)
    world = World((SLOW_S, 0.0))

    async def watched() -> None:
        await world.beat(SLOW_S - 0.1)
        await until(SLOW_S + 3.8)
        assert INSTANCE in world.cluster.tables.leases
        await until(SLOW_S + 6.0)
        assert INSTANCE not in world.cluster.tables.leases

    play(world, watched())


def test_an_epoch_that_a_slow_read_found_began_at_its_end() -> None:
    """A backup without the sidecar's row is restored while the watch reads."""
    world = World((SLOW_S, 0.0))

    async def restore() -> None:
        backup = world.cluster.tables.copy()
        await world.beat(SLOW_S - 0.2)
        await until(SLOW_S - 0.1)
        world.cluster.restore(backup)

    play(world, restore(), world.revoke("rev_1", SLOW_S + 0.1))


def test_a_release_that_a_slow_read_found_is_reported_from_the_end_of_the_read() -> None:
    """A receipt never says that a verifier was out of danger before it was."""
    world = World(READ, READ, (0.5, 0.0))  # the watch, the wait, and the look at 0.45 s
    _, _, receipt = play(world, world.beat(0.1), world.release(0.85), world.revoke("rev_1", 0.2))
    assert isinstance(receipt, Receipt)
    [verified] = receipt.verifiers
    assert verified.outcome is Outcome.RELEASED
    assert verified.latency_us >= 650_000


_READS = st.lists(
    st.sampled_from([READ, (2.0, 0.0), (0.0, 2.0), (0.5, 0.5)]), min_size=1, max_size=6
)
_TIMES = st.lists(st.integers(0, 20).map(lambda quarters: quarters / 4), min_size=1, max_size=5)


@given(reads=_READS, beats=_TIMES, revokes=_TIMES)
def test_no_lease_below_the_position_of_a_receipt_outlives_it_however_slow_the_reads_are(
    reads: list[tuple[float, float]], beats: list[float], revokes: list[float]
) -> None:
    world = World(*reads)
    play(
        world,
        *(world.beat(at_s) for at_s in sorted(beats)),
        *(world.revoke(f"rev_{number}", at_s) for number, at_s in enumerate(sorted(revokes))),
    )


def test_a_shorter_term_is_waited_for_from_the_end_of_the_slow_read_that_found_it() -> None:
    """Another authority lowered what is granted while this one was reading the head row."""

    async def story() -> None:
        clock = LoopClock()
        cluster = Cluster(begun(term_ms=30_000, at_us=0), now_us=clock.wall_us)
        elsewhere = TermsInMemory(cluster, at_once)
        await elsewhere.set_target(10_000, actor="admin:ada")
        slow = iter([SLOW_S])

        async def trip() -> None:
            await asyncio.sleep(next(slow, 0.0))

        keeper = LeaseTermScheduler(TermsInMemory(cluster, trip), clock=clock)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(keeper.run())
            await until(SLOW_S - 0.1)
            asked: Term = await elsewhere.get()
            assert await elsewhere.move(asked.version, grant_ms=10_000, wait_ms=30_000)
            lowered_s = now_s()
            while cluster.tables.wait_term_ms == 30_000:
                await asyncio.sleep(0.01)
            running.cancel()
        assert now_s() >= lowered_s + lease.wait_ns(30_000) / 1e9

    virtual_time.run(story())
