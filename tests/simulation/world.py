"""One run of a whole system, from a seed: authorities, sidecars, workloads, actors and faults."""

import asyncio
import dataclasses
import hashlib
from collections import Counter
from collections.abc import Coroutine, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

from tests.simulation import adversary, workload
from tests.simulation.actors import TERM_MS, Actors
from tests.simulation.authority import Authority, Redis
from tests.simulation.changes import Changes
from tests.simulation.clock_steps import PostgresClock
from tests.simulation.fault_injector import FaultInjector
from tests.simulation.network import Host, Network, now_s, now_us
from tests.simulation.oracle import Checked, Issued, Oracle, Promise
from tests.simulation.plan import ENDS_S, SIDECARS, Plan
from tests.simulation.sidecar import Sidecar
from tests.simulation.workload import Place, SimulatedVerifier
from tests.support import virtual_time
from tests.support.postgres_in_memory import Cluster, begun

from rescind.core import lease
from rescind.core.posture import Posture
from rescind.core.verdict import Allowed, Reason
from rescind.errors import DeniedError
from rescind.wire import nats_subjects
from rescind_authority import actors
from rescind_authority.usecases.enforcement import row_watch
from rescind_authority.usecases.revocations import scheduled_lifts
from rescind_sidecar.link.failover import AuthorityRoute
from rescind_sidecar.usecases import instance as instance_module
from rescind_sidecar.view.view import View

_WRITES = 0.5
_RING = 8
_WAITS_S = 3.5
_RECOVERS_S = 5.0
_HELD_S = {True: 0.4, False: 1.7}
"""By when work has ended after a receipt, with a mapped table and without: at once, or by the look
of each second on a slow clock; and what a check may take."""
_LATE_US = 3_000_000


@dataclass(frozen=True, slots=True, eq=False)
class ThreadHold:
    """A hold of a workload: its token, its start, and whether it needs to write."""

    token: Issued
    began_s: float
    verifier: SimulatedVerifier
    mapped: bool
    writes: bool


class World:
    """The processes, the actors and the oracle of one run."""

    def __init__(self, plan: Plan, directory: Path) -> None:
        self.clock = PostgresClock(plan.seed)
        if self.clock.steps:
            # Until when a receipt lets a verifier be in grace is a time of the clock that is set.
            plan = dataclasses.replace(plan, postures=("strict",) * SIDECARS)
        self.plan = plan
        self.oracle = Oracle()
        self.network = Network(plan.seed)
        self.redis = Redis()
        self.cluster = Cluster(begun(term_ms=TERM_MS, at_us=now_us()), now_us=self.clock.now_us)
        self.random_source = Random(f"{plan.seed} world")
        self.started = 0
        self.begun: list[asyncio.Task[None]] = []
        self.verifiers: list[tuple[Place, SimulatedVerifier]] = []
        self.held: dict[ThreadHold, None] = {}  # in order: a run is repeated
        self.running: dict[Authority | Sidecar, asyncio.Task[None]] = {}
        self.authorities: list[Authority] = []
        self.actors = Actors(
            self.oracle,
            self.cluster,
            authorities=lambda: self.authorities,
            check=self.check_promise,
            seed=plan.seed,
        )
        self.changes = Changes(self)
        self.fault_injector = FaultInjector(self)
        self.authority_hosts = [
            Host(f"authority {number}", rate) for number, rate in enumerate(plan.authority_rates)
        ]
        self.postures = [Posture.parse(text) for text in plan.postures]
        self.places = [
            Place(Host(f"sidecar {number}", rate), directory / f"{number}.sock")
            for number, rate in enumerate(plan.sidecar_rates)
        ]

    async def run(self) -> None:
        """Run with faults for a while; then repair all but one, and check the recovery."""
        async with asyncio.TaskGroup() as self.tasks:
            for number in range(len(self.authority_hosts)):
                self.authorities.append(self.start_authority(number))
            for number in range(len(self.places)):
                self.start_sidecar(number)
            jobs: list[Coroutine[Any, Any, None]] = [
                self.actors.revoke_tokens(),
                self.actors.revoke_tokens(),
                self.actors.issue_tokens(),
                self.fault_injector.run(),
                self.changes.run(),
                self.clock.run(self.oracle.count),
                *(
                    work(number, mapped=mapped)
                    for work in (self.working, self.holding)
                    for number in range(len(self.places))
                    for mapped in (True, False)
                ),
            ]
            for job in jobs:
                self.begin(job)
            await asyncio.sleep(ENDS_S)
            self.actors.over = True
            await asyncio.sleep(_WAITS_S)  # what was revoked last is enforced, and checked
            if self.plan.lives_on:
                await self.recover()
            self.changes.finish()
            for process, task in [*self.running.items()]:
                process.crash(task)
            for task in self.begun:
                task.cancel()

    def begin(self, job: Coroutine[Any, Any, None]) -> None:
        """Start a job that runs until the run ends."""
        self.begun.append(self.tasks.create_task(job))

    def failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Record an error that no task awaits."""
        self.oracle.wrong.append(f"unheard: {context}")

    # The processes ------------------------------------------------------------------------------

    def start_authority(self, number: int) -> Authority:
        self.started += 1
        host = self.authority_hosts[number]
        authority = Authority(
            host,
            self.cluster,
            redis=self.redis,
            publish=lambda subject, payload: self.publish(host, subject, payload),
            seed=f"{self.plan.seed} {self.started}",
        )
        self.running[authority] = self.tasks.create_task(authority.run())
        return authority

    def start_sidecar(self, number: int) -> None:
        self.started += 1
        place = self.places[number]
        place.sidecar = Sidecar(
            place.host,
            network=self.network,
            authorities=lambda: self.authorities,
            socket=place.socket,
            redis=self.redis,
            credential=self.actors.credential,
            posture=self.postures[number],
            seed=f"{self.plan.seed} {self.started}",
        )
        self.running[place.sidecar] = self.tasks.create_task(place.sidecar.run())

    def publish(self, source: Host, subject: str, payload: bytes) -> None:
        """Push to every sidecar, to every other authority, and to the adversary."""
        if subject == nats_subjects.EVENTS:
            adversary.attack(self.places, self.authorities, payload)
        for place in self.places:
            self.network.send(source, place.host, partial(self._pushed, place, subject, payload))
        for authority in self.authorities:
            if authority.host is not source and subject == nats_subjects.EVENTS:
                self.network.send(
                    source, authority.host, partial(authority.receive, subject, payload)
                )

    def _pushed(self, place: Place, subject: str, payload: bytes) -> None:
        sidecar = place.sidecar
        if sidecar is not None and sidecar.alive and place.host.nats == "works":
            take = (
                sidecar.follow.receive_push
                if subject == nats_subjects.EVENTS
                else sidecar.follow.receive_ack_request
            )
            take(payload)

    # The workloads ------------------------------------------------------------------------------

    async def working(self, number: int, *, mapped: bool) -> None:
        """Check tokens at random times."""
        place, random_source = self.places[number], Random(f"{self.plan.seed} {number} {mapped}")
        verifier = await workload.attached(place, mapped=mapped)
        self.verifiers.append((place, verifier))
        while not self.actors.over:
            await asyncio.sleep(random_source.uniform(0.1, 0.9))
            token = self.alive(random_source)
            await self.check(place, verifier, token, writes=random_source.random() < _WRITES)

    async def holding(self, number: int, *, mapped: bool) -> None:
        """Hold one token after another, each for a random time."""
        place, random_source = (
            self.places[number],
            Random(f"{self.plan.seed} {number} {mapped} holds"),
        )
        verifier = await workload.attached(place, mapped=mapped)
        while not self.actors.over:
            await asyncio.sleep(random_source.uniform(0.1, 1.0))
            held = ThreadHold(
                self.alive(random_source),
                now_s(),
                verifier,
                mapped,
                random_source.random() < _WRITES,
            )
            require = ("write",) if held.writes else ()
            for_s = random_source.uniform(2.0, 8.0)
            try:
                async with verifier.hold(held.token.text, require=require):
                    self.held[held] = None
                    await asyncio.sleep(for_s)
            except DeniedError:
                self.oracle.count["held, and ended" if held in self.held else "not held"] += 1
            self.held.pop(held, None)
        verifier.close()

    async def see_held_end(self, promise: Promise) -> None:
        """Check, shortly after a receipt, that no hold continues under a token that it denies."""
        for mapped, later_s in _HELD_S.items():
            await asyncio.sleep(promise.made_s + later_s - now_s())
            self.actors.apply_scheduled_lifts()
            if promise not in self.oracle.promises or now_s() >= promise.ends_s:
                return
            self.see_ended(promise, [each for each in self.held if each.mapped is mapped])

    def see_ended(self, promise: Promise, works: Sequence[ThreadHold]) -> None:
        """Record the holds that continue under a token that a promise denies."""
        for held in works:
            spared = promise.spares(
                held.verifier.instance, held.token, now_s(), strangers=self.oracle.strangers
            )
            before = held.began_s < promise.made_s
            if before and not spared and promise.takes(held.token, writes=held.writes):
                self.oracle.wrong.append(
                    f"at {now_s():.3f} s work is held under a token of seq "
                    f"{held.token.issued_seq}: {promise.event.revocation.effect} "
                    f"{promise.event.seq} was enforced at {promise.made_s:.3f} s"
                )

    def alive(self, random_source: Random) -> Issued:
        """Choose a token that no promise affects, if there is one among four."""
        tokens = random_source.sample(self.oracle.tokens, k=min(4, len(self.oracle.tokens)))
        return next((each for each in tokens if self.oracle.free(each)), tokens[0])

    def check_promise(self, promise: Promise, taken: Sequence[Issued], demanded: bool) -> None:
        """Check denied tokens at every verifier; with a demanded position, at two."""
        if not demanded:
            self.begin(self.see_held_end(promise))
        if not taken:
            return
        verifiers = (
            self.verifiers if not demanded else self.random_source.sample(self.verifiers, k=2)
        )
        for place, verifier in verifiers:
            token = self.random_source.choice(taken)
            demand = promise if demanded else None
            for later_s in (0.001, self.random_source.uniform(0.0, 4.0))[: 1 if demanded else 2]:
                self.begin(self.later(later_s, place, verifier, token, demand))

    async def later(
        self,
        later_s: float,
        place: Place,
        verifier: SimulatedVerifier,
        token: Issued,
        demanded: Promise | None,
    ) -> None:
        """Check once, after a while."""
        await asyncio.sleep(later_s)
        await self.check(place, verifier, token, writes=True, demanded=demanded)

    async def check(
        self,
        place: Place,
        verifier: SimulatedVerifier,
        token: Issued,
        *,
        writes: bool,
        demanded: Promise | None = None,
    ) -> None:
        """Check a token, and pass the verdict to the oracle."""
        workload.on(place)
        started_s = now_s()
        verdict = await verifier.acheck(
            token.text,
            require=("write",) if writes else (),
            min_seq=0 if demanded is None else demanded.event.seq,
        )
        self.changes.heard(verifier, token, verdict, started_s)
        if isinstance(verdict, Allowed):
            self.actors.apply_scheduled_lifts()
            instance = verifier.instance
            self.oracle.accepted(Checked(token, started_s, now_s(), instance, writes, demanded))
            return
        self.oracle.count[f"denied: {verdict.reason}"] += 1
        if (
            verdict.reason is Reason.UNKNOWN
            and token in self.oracle.tokens
            and self.cluster.old is None  # it may not know the token, and still answers
        ):
            self.oracle.wrong.append(f"at {started_s:.3f} s a token is called unknown")
        if token is self.actors.innocent and self.plan.quiet and 1 < started_s < ENDS_S:
            self.oracle.wrong.append(f"at {started_s:.3f} s an innocent: {verdict.reason}")

    # In the end ---------------------------------------------------------------------------------

    async def recover(self) -> None:
        """Repair all but one fault; then check receipts, and tokens that must be accepted."""
        ill = self.fault_injector.heal(self.plan.lasting)
        await asyncio.sleep(_RECOVERS_S)
        for number, place in enumerate(self.places):
            if number in ill:
                continue
            old = [verifier for there, verifier in self.verifiers if there is place]
            new = [await workload.attached(place, mapped=mapped) for mapped in (True, False)]
            for verifier in (*new, *old):
                verdict = await verifier.acheck(self.actors.innocent.text)
                if not isinstance(verdict, Allowed):
                    self.oracle.wrong.append(
                        f"{place.host.name} recovered, and denies an innocent: {verdict.reason}"
                    )
            sidecar = place.sidecar
            if sidecar is not None and sidecar.transport.route is not AuthorityRoute.NATS:
                self.oracle.wrong.append(f"{place.host.name} does not go back to NATS")
        self.see_what_ended()
        began_s, bound_s = now_s(), _bound_s(self.cluster.tables.wait_term_ms)
        try:
            async with asyncio.timeout(2 * bound_s):
                await self.actors.revoke("revoke", f"tree:{self.actors.last.token_id}")
        except TimeoutError:
            pass
        if now_s() - began_s > bound_s:
            self.oracle.wrong.append(
                f"the receipt took {now_s() - began_s:.2f} s with {self.plan.lasting.name} left"
            )

    def see_what_ended(self) -> None:
        """Check that each revocation with an end was lifted once."""
        tables, lifts = self.cluster.tables, Counter[str]()
        for _, entry in tables.entries:
            revocation = entry.event.revocation
            if revocation.actor == actors.SCHEDULED_LIFT and revocation.lifts is not None:
                lifts[revocation.lifts] += 1
            until_us = revocation.until_us
            if until_us is None or self.cluster.now_us() - until_us <= _LATE_US:
                continue
            if (revocation.revocation_id, entry.event.seq) not in tables.lifted:
                self.oracle.wrong.append(
                    f"nothing ended {revocation.revocation_id}: its time is up"
                )
        self.oracle.count["ended by themselves"] += len(lifts)
        twice = [name for name, number in lifts.items() if number > 1]
        if twice and self.cluster.tables.end.epoch == 1:
            self.oracle.wrong.append(f"more than one authority lifted {twice}")


def _bound_s(term_ms: int) -> float:
    """Return the longest time for a receipt (seconds): a full wait by a slow clock, and more."""
    return lease.wait_ns(term_ms) / 1e9 / 0.99 + 0.6


def simulate(plan: Plan) -> Oracle:
    """Run a plan, and return its oracle."""

    async def live() -> Oracle:
        with TemporaryDirectory(prefix="rescind-") as directory:
            world = World(plan, Path(directory))
            asyncio.get_running_loop().set_exception_handler(world.failed)
            await world.run()
            return world.oracle

    with workload.clocks(), small():
        return virtual_time.run(live())


@contextmanager
def small() -> Generator[None]:
    """Shorten rings and sweeps for the block, so that a short run reaches their limits."""
    with (
        mock.patch.object(instance_module, "View", partial(View, ring_capacity=_RING)),
        mock.patch.object(row_watch, "_SILENT_NS", 4 * 10**9),
        mock.patch.object(scheduled_lifts, "_POLL_S", 1.0),
    ):
        yield


def fingerprint(oracle: Oracle) -> str:
    """Return a hash of a run's counts, promises and violations."""
    told = [
        sorted(oracle.count.items()),
        [(each.made_s, each.event.seq) for each in oracle.promises],
        oracle.wrong,
    ]
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]
