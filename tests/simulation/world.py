"""One run of a whole system, from a seed: authorities, sidecars, workloads, people and troubles."""

import asyncio
import hashlib
from collections.abc import Collection, Coroutine, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from random import Random
from typing import Any
from unittest import mock

from tests.simulation import hostile, workload
from tests.simulation.authority import Authority, Redis
from tests.simulation.network import Host, Network, Weather, now_s, now_us
from tests.simulation.oracle import Issued, Oracle, Promise
from tests.simulation.people import TERM_MS, People
from tests.simulation.plan import ENDS_S, Fault, Lasting, Plan, Trouble
from tests.simulation.sidecar import Sidecar, TablesOnHost
from tests.simulation.workload import Place, SimulatedVerifier
from tests.support import virtual_time
from tests.support.postgres_in_memory import Cluster, Tables, begun

from rescind.core import lease
from rescind.core.posture import Posture
from rescind.core.verdict import Allowed
from rescind.wire import subjects
from rescind_authority.usecases import enforce
from rescind_sidecar.usecases import incarnations
from rescind_sidecar.view.view import View

_WRITES = 0.5
_RING = 8
_WAITS_S = 3.5
_RECOVERS_S = 5.0
_BOUND_S = lease.wait_ns(TERM_MS) / 1e9 / 0.99 + 0.6


class World:
    """Everything that runs, and who watches it."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.oracle = Oracle()
        self.network = Network(plan.seed)
        self.redis = Redis()
        self.cluster = Cluster(begun(term_ms=TERM_MS, at_us=now_us()), now_us=now_us)
        self.dice = Random(f"{plan.seed} world")
        self.started = 0
        self.begun: list[asyncio.Task[None]] = []
        self.verifiers: list[tuple[Place, SimulatedVerifier]] = []
        self.running: dict[Authority | Sidecar, asyncio.Task[None]] = {}
        self.authorities: list[Authority] = []
        self.people = People(
            self.oracle,
            self.cluster,
            authorities=lambda: self.authorities,
            promised=self.probe,
            seed=plan.seed,
        )
        self.first = self.cluster.tables.copy()
        self.authority_hosts = [
            Host(f"authority {number}", rate) for number, rate in enumerate(plan.authority_rates)
        ]
        self.postures = [Posture.parse(text) for text in plan.postures]
        self.places = [
            Place(Host(f"sidecar {number}", rate), TablesOnHost(posture))
            for number, (rate, posture) in enumerate(
                zip(plan.sidecar_rates, self.postures, strict=True)
            )
        ]

    async def run(self) -> None:
        """Live for a while in trouble; then heal but for one fault, and show that all is well."""
        async with asyncio.TaskGroup() as self.tasks:
            for number in range(len(self.authority_hosts)):
                self.authorities.append(self.start_authority(number))
            for number in range(len(self.places)):
                self.start_sidecar(number)
            jobs: list[Coroutine[Any, Any, None]] = [
                self.people.revoking(),
                self.people.revoking(),
                self.people.logging_in(),
                self.troubling(),
                *(
                    self.working(number, mapped=mapped)
                    for number in range(len(self.places))
                    for mapped in (True, False)
                ),
            ]
            for job in jobs:
                self.begin(job)
            await asyncio.sleep(ENDS_S)
            self.people.over = True
            await asyncio.sleep(_WAITS_S)  # what was revoked last is enforced, and checked
            if self.plan.lives_on:
                await self.recover()
            for process, task in [*self.running.items()]:
                process.crash(task)
            for task in self.begun:
                task.cancel()

    def begin(self, job: Coroutine[Any, Any, None]) -> None:
        """Do something beside all the rest, until the run is over."""
        self.begun.append(self.tasks.create_task(job))

    def failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Note what nobody else would hear of."""
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
            tables=place.tables,
            redis=self.redis,
            credential=self.people.credential,
            posture=self.postures[number],
            seed=f"{self.plan.seed} {self.started}",
        )
        self.running[place.sidecar] = self.tasks.create_task(place.sidecar.run())

    def publish(self, source: Host, subject: str, payload: bytes) -> None:
        """Push to every sidecar, and to every other authority; somebody hostile listens too."""
        if subject == subjects.EVENTS:
            hostile.hears(self.places, self.authorities, payload)
        for place in self.places:
            self.network.send(source, place.host, partial(self._pushed, place, subject, payload))
        for authority in self.authorities:
            if authority.host is not source and subject == subjects.EVENTS:
                self.network.send(source, authority.host, partial(authority.hear, subject, payload))

    def _pushed(self, place: Place, subject: str, payload: bytes) -> None:
        sidecar = place.sidecar
        if sidecar is not None and sidecar.alive:
            take = sidecar.follow.pushed if subject == subjects.EVENTS else sidecar.follow.wanted
            take(payload)

    # The workloads ------------------------------------------------------------------------------

    async def working(self, number: int, *, mapped: bool) -> None:
        """Check tokens now and then."""
        place, dice = self.places[number], Random(f"{self.plan.seed} {number} {mapped}")
        verifier = await workload.attached(place, mapped=mapped)
        self.verifiers.append((place, verifier))
        while not self.people.over:
            await asyncio.sleep(dice.uniform(0.1, 0.9))
            token = self.alive(dice)
            await self.check(place, verifier, token, writes=dice.random() < _WRITES)

    def alive(self, dice: Random) -> Issued:
        """Choose a token that is alive, most of the time."""
        tokens = dice.sample(self.oracle.tokens, k=min(4, len(self.oracle.tokens)))
        return next((each for each in tokens if self.oracle.free(each)), tokens[0])

    def probe(self, promise: Promise, before: Collection[Issued]) -> None:
        """Check at every workload what a receipt says is over: at once, and some time later."""
        taken = [each for each in before if promise.takes(each, writes=True)]
        if not taken:
            return
        for place, verifier in self.verifiers:
            token = self.dice.choice(taken)
            for later_s in (0.001, self.dice.uniform(0.0, 4.0)):
                self.begin(self.later(later_s, place, verifier, token))

    async def later(
        self, later_s: float, place: Place, verifier: SimulatedVerifier, token: Issued
    ) -> None:
        """Check once, after a while."""
        await asyncio.sleep(later_s)
        await self.check(place, verifier, token, writes=True)

    async def check(
        self, place: Place, verifier: SimulatedVerifier, token: Issued, *, writes: bool
    ) -> None:
        """Check a token, and tell the oracle what came of it."""
        workload.on(place)
        started_s = now_s()
        verdict = await verifier.acheck(token.text, require=("write",) if writes else ())
        if isinstance(verdict, Allowed):
            self.oracle.accepted(
                token,
                started_s=started_s,
                ended_s=now_s(),
                instance=verifier.instance,
                writes=writes,
            )
            return
        self.oracle.count[f"denied: {verdict.reason}"] += 1
        if token is self.people.innocent and self.plan.quiet and 1 < started_s < ENDS_S:
            self.oracle.wrong.append(f"at {started_s:.3f} s an innocent: {verdict.reason}")

    # The troubles -------------------------------------------------------------------------------

    async def troubling(self) -> None:
        for trouble in self.plan.troubles:
            await asyncio.sleep(max(0.0, trouble.at_s - now_s()))
            self.oracle.count[trouble.fault.name] += 1
            self.begin(self.trouble(trouble))

    async def trouble(self, trouble: Trouble) -> None:
        """Make one thing go wrong, and right again."""
        number = trouble.which % len(self.places)
        place, authority = self.places[number], trouble.which % len(self.authorities)
        match trouble.fault:
            case Fault.WEATHER | Fault.CUT | Fault.DEAF | Fault.MUTE:
                cut, good = Weather(cut=True), Weather()
                self.weather(
                    place,
                    inwards={
                        Fault.WEATHER: trouble.weather,
                        Fault.MUTE: good,
                    }.get(trouble.fault, cut),
                    outwards={
                        Fault.WEATHER: trouble.weather,
                        Fault.DEAF: good,
                    }.get(trouble.fault, cut),
                )
                self.begin(self.people.react())
                await asyncio.sleep(trouble.for_s)
                self.weather(place, good, good)
            case Fault.LIMP:
                slow = Weather(lost=0.4, slow=1.0, slow_s=1.4)
                self.begin(self.people.react())
                self.weather(place, slow, slow)
                await asyncio.sleep(1.0)
                await self._cut_off(place, trouble.for_s)
            case Fault.PAUSE_SIDECAR:
                place.host.paused_until_s = now_s() + trouble.for_s
            case Fault.PAUSE_AUTHORITY:
                self.authority_hosts[authority].paused_until_s = now_s() + trouble.for_s
            case Fault.CRASH_SIDECAR | Fault.STOP_SIDECAR:
                await self._restart_sidecar(number, trouble)
            case Fault.CRASH_AUTHORITY:
                await self._restart_authority(authority, trouble.for_s)
            case Fault.POSTGRES_AWAY:
                self.authorities[authority].postgres_away = True
                await asyncio.sleep(trouble.for_s)
                self.authorities[authority].postgres_away = False
            case Fault.RESTORE:
                await self._back_up_and_restore(number, trouble)

    async def _cut_off(self, place: Place, for_s: float) -> None:
        cut, good = Weather(cut=True), Weather()
        self.weather(place, cut, cut)
        await asyncio.sleep(for_s)
        self.weather(place, good, good)

    async def _back_up_and_restore(self, number: int, trouble: Trouble) -> None:
        """Restore a backup: one in two is older than any sidecar, and one of those is cut off."""
        backup = self.cluster.tables.copy()
        await asyncio.sleep(trouble.for_s)
        if trouble.which % 2:
            self.begin(self._cut_off(self.places[number], 3.5))
            backup = self.first
        self.restore(backup)
        self.begin(self.people.react())

    def weather(self, place: Place, inwards: Weather, outwards: Weather) -> None:
        """Say how the ways are between a sidecar and every authority."""
        for host in self.authority_hosts:
            self.network.way(host, place.host).weather = inwards
            self.network.way(place.host, host).weather = outwards

    async def _restart_sidecar(self, number: int, trouble: Trouble) -> None:
        sidecar = self.places[number].sidecar
        if sidecar is None or sidecar not in self.running:
            return
        task = self.running.pop(sidecar)
        if trouble.fault is Fault.STOP_SIDECAR:
            sidecar.poke()
            await asyncio.sleep(self.dice.uniform(0.0, 0.01))
            self.begin(self.people.react())
            await sidecar.stop(task)
        else:
            sidecar.crash(task)
        await asyncio.sleep(trouble.for_s / 3)
        self.start_sidecar(number)

    async def _restart_authority(self, number: int, for_s: float) -> None:
        authority = self.authorities[number]
        if not authority.alive:
            return
        authority.crash(self.running.pop(authority))
        await asyncio.sleep(for_s / 2)
        self.authorities[number] = self.start_authority(number)

    def restore(self, backup: Tables) -> None:
        """Lose what was committed since the backup: a new epoch begins, as an operator would."""
        self.cluster.restore(backup)
        self.people.lost()

    # In the end ---------------------------------------------------------------------------------

    async def recover(self) -> None:
        """Heal all but one fault; then receipts come in time, and the innocent are accepted."""
        self.network.heal()
        spared = self._last(self.plan.lasting)
        await asyncio.sleep(_RECOVERS_S)
        for number, place in enumerate(self.places):
            if number in spared:
                continue
            for mapped in (True, False):
                verifier = await workload.attached(place, mapped=mapped)
                verdict = await verifier.acheck(self.people.innocent.text)
                if not isinstance(verdict, Allowed):
                    self.oracle.wrong.append(
                        f"{place.host.name} recovered, and denies an innocent: {verdict.reason}"
                    )
        began_s = now_s()
        try:
            async with asyncio.timeout(2 * _BOUND_S):
                await self.people.revoke("revoke", f"tree:{self.people.last.token_id}")
        except TimeoutError:
            pass
        if now_s() - began_s > _BOUND_S:
            self.oracle.wrong.append(
                f"the receipt took {now_s() - began_s:.2f} s with {self.plan.lasting.name} left"
            )

    def _last(self, lasting: Lasting) -> Sequence[int]:
        place = self.places[0]
        cut = Weather(cut=True)
        match lasting:
            case Lasting.NOTHING:
                return ()
            case Lasting.CUT:
                self.weather(place, cut, cut)
            case Lasting.DEAF:
                self.weather(place, cut, Weather())
            case Lasting.MUTE:
                self.weather(place, Weather(), cut)
            case Lasting.DEAD_SIDECAR:
                sidecar = place.sidecar
                assert sidecar is not None
                sidecar.crash(self.running.pop(sidecar))
            case Lasting.DEAD_AUTHORITY:
                authority = self.authorities[0]
                authority.crash(self.running.pop(authority))
                return ()
        return (0,)


def simulate(plan: Plan) -> Oracle:
    """Run a plan, and give what the oracle says of it."""

    async def live() -> Oracle:
        world = World(plan)
        asyncio.get_running_loop().set_exception_handler(world.failed)
        await world.run()
        return world.oracle

    with workload.clocks(), small():
        return virtual_time.run(live())


@contextmanager
def small() -> Generator[None]:
    """Let rings be short and rows be swept early, so that seconds show what takes hours."""
    with (
        mock.patch.object(incarnations, "View", partial(View, ring_capacity=_RING)),
        mock.patch.object(enforce, "_SILENT_NS", 4 * 10**9),
    ):
        yield


def fingerprint(oracle: Oracle) -> str:
    """Tell one run from another by what came of it."""
    told = [
        sorted(oracle.count.items()),
        [(each.made_s, each.event.seq) for each in oracle.promises],
        oracle.wrong,
    ]
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]
