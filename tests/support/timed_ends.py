"""A Postgres in memory, and authorities that commit its scheduled ends, in virtual time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tests.support import virtual_time
from tests.support.clocks import LoopClock
from tests.support.postgres_in_memory import Cluster, PostgresInMemory, begun

from rescind.core.revocation import Event
from rescind.wire.events import Batch
from rescind_authority import actors
from rescind_authority.errors import StoreUnavailableError
from rescind_authority.ports.keys import Entropy
from rescind_authority.prometheus import PrometheusMetrics
from rescind_authority.usecases.ledger.publisher import Publisher
from rescind_authority.usecases.ledger.recent_events import RecentEvents
from rescind_authority.usecases.ledger.sequencer import Sequencer
from rescind_authority.usecases.tokens.end_timer import EndTimer

START_US = 1_800_000_000_000_000
S_US = 1_000_000
METRICS = PrometheusMetrics()


class SilentAnnouncer:
    """An announcer that sends nothing (port EventAnnouncer)."""

    def announce(self, batch: Batch) -> None:
        pass


class TimedEnds:
    """One Postgres, which may be unreachable, and authorities."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self.tasks = tasks
        self.clock = LoopClock(START_US)
        self.cluster = Cluster(begun(term_ms=3_000, at_us=START_US), now_us=self.clock.wall_us)
        self.away = False
        self.postgres = PostgresInMemory(self.cluster, self.trip)
        self.running: list[asyncio.Task[None]] = []

    async def trip(self) -> None:
        """Reach Postgres, or raise if it is unreachable."""
        await asyncio.sleep(0.001)
        if self.away:
            raise StoreUnavailableError("the test says so")

    def start(self, entropy: Entropy) -> tuple[Sequencer, EndTimer]:
        """Start the tasks with which an authority commits ends."""
        publisher = Publisher(
            announcer=SilentAnnouncer(), recent=RecentEvents(self.postgres, clock=self.clock)
        )
        sequencer = Sequencer(self.postgres, publisher=publisher, clock=self.clock, metrics=METRICS)
        timer = EndTimer(self.postgres, sequencer=sequencer, clock=self.clock, entropy=entropy)
        for part in (sequencer, timer):
            self.running.append(self.tasks.create_task(part.run()))
        return sequencer, timer

    def ends(self) -> list[Event]:
        """The events that the authorities committed by themselves."""
        found = [entry.event for _, entry in self.cluster.tables.entries]
        return [event for event in found if event.revocation.actor == actors.SCHEDULED_END]


_World = TypeVar("_World", bound=TimedEnds)


def play(
    world: Callable[[asyncio.TaskGroup], _World], story: Callable[[_World], Awaitable[None]]
) -> None:
    """Run a story in virtual time."""

    async def run_story() -> None:
        async with asyncio.TaskGroup() as tasks:
            here = world(tasks)
            await story(here)
            for task in here.running:
                task.cancel()

    virtual_time.run(run_story())
