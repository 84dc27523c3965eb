"""Make go wrong what the plan says, when it says so, and right again."""

import asyncio
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

from tests.simulation.network import Weather, now_s
from tests.simulation.people import TERM_MS
from tests.simulation.plan import Fault, Lasting, Outage, Trouble
from tests.simulation.workload import Place

if TYPE_CHECKING:
    from tests.simulation.world import World

LONGEST_GRACE_MS = 2_000
"""What the operator says that begins an epoch; `plan.py` draws no longer one."""

_GOOD, _CUT = Weather(), Weather(cut=True)
_LIMP = Weather(lost=0.4, slow=1.0, slow_s=1.4)


class Troubles:
    """What happens to a world."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._random = Random(f"{world.plan.seed} troubles")
        self._first = world.cluster.tables.copy()
        self._healed = False

    async def run(self) -> None:
        """Let come what comes."""
        world = self._world
        for outage in world.plan.outages:
            world.begin(self._lose_nats(outage))
        for trouble in world.plan.troubles:
            await asyncio.sleep(max(0.0, trouble.at_s - now_s()))
            world.oracle.count[trouble.fault.name] += 1
            world.begin(self._come(trouble))

    async def _come(self, trouble: Trouble) -> None:
        world, fault = self._world, trouble.fault
        number = trouble.which % len(world.places)
        place, authority = world.places[number], trouble.which % len(world.authorities)
        match fault:
            case Fault.WEATHER | Fault.CUT | Fault.DEAF | Fault.MUTE | Fault.LIMP:
                await self._storm(place, trouble)
            case Fault.PAUSE_SIDECAR:
                place.host.paused_until_s = now_s() + trouble.for_s
            case Fault.PAUSE_AUTHORITY:
                world.authority_hosts[authority].paused_until_s = now_s() + trouble.for_s
            case Fault.CRASH_SIDECAR | Fault.STOP_SIDECAR:
                await self._restart_sidecar(number, trouble)
            case Fault.CRASH_AUTHORITY:
                await self._restart_authority(authority, trouble.for_s)
            case Fault.POSTGRES_AWAY:
                world.authorities[authority].postgres_away = True
                await asyncio.sleep(trouble.for_s)
                world.authorities[authority].postgres_away = False
            case Fault.TERM:
                await world.people.change_term((1_500, 5_000)[trouble.which % 2])
                await asyncio.sleep(trouble.for_s)
                world.begin(self._while_(place, _CUT, _CUT, 5.0))
                await world.people.change_term(TERM_MS)
                await world.people.react()
            case Fault.FAILOVER:
                await self._fail_over(number, trouble)
            case Fault.RESTORE:
                await self._back_up_and_restore(place, trouble)

    async def _lose_nats(self, outage: Outage) -> None:
        """Take NATS away for a while: what is pushed is lost, and HTTP carries the rest."""
        world = self._world
        await asyncio.sleep(outage.at_s)
        world.oracle.count["NATS away"] += 1
        for number in outage.sidecars:
            world.places[number].host.nats = outage.nats
        world.begin(world.people.react())
        await asyncio.sleep(outage.for_s)
        for number in outage.sidecars:
            world.places[number].host.nats = "works"

    # The ways between a sidecar and the authorities ---------------------------------------------

    async def _storm(self, place: Place, trouble: Trouble) -> None:
        self._world.begin(self._world.people.react())
        inwards, outwards = {
            Fault.WEATHER: (trouble.weather, trouble.weather),
            Fault.DEAF: (_CUT, _GOOD),
            Fault.MUTE: (_GOOD, _CUT),
        }.get(trouble.fault, (_CUT, _CUT))
        if trouble.fault is Fault.LIMP:
            await self._while_(place, _LIMP, _LIMP, 1.0)
        await self._while_(place, inwards, outwards, trouble.for_s)

    async def _while_(
        self, place: Place, inwards: Weather, outwards: Weather, for_s: float
    ) -> None:
        self._weather(place, inwards, outwards)
        await asyncio.sleep(for_s)
        self._weather(place, _GOOD, _GOOD)

    def _weather(self, place: Place, inwards: Weather, outwards: Weather) -> None:
        if self._healed:
            return
        world = self._world
        for host in world.authority_hosts:
            world.network.way(host, place.host).weather = inwards
            world.network.way(place.host, host).weather = outwards

    # The processes ------------------------------------------------------------------------------

    async def _restart_sidecar(self, number: int, trouble: Trouble) -> None:
        world = self._world
        sidecar = world.places[number].sidecar
        if sidecar is None or sidecar not in world.running:
            return
        task = world.running.pop(sidecar)
        if trouble.fault is Fault.STOP_SIDECAR:
            sidecar.poke()  # so that a heartbeat is under way
            await asyncio.sleep(self._random.uniform(0.0, 0.01))
            world.begin(world.people.react())
            await sidecar.stop(task)
        else:
            sidecar.crash(task)
        await asyncio.sleep(trouble.for_s / 3)
        world.start_sidecar(number)

    async def _restart_authority(self, number: int, for_s: float) -> None:
        world = self._world
        authority = world.authorities[number]
        if authority not in world.running:
            return
        authority.crash(world.running.pop(authority))
        await asyncio.sleep(for_s / 2)
        world.authorities[number] = world.start_authority(number)

    async def _back_up_and_restore(self, place: Place, trouble: Trouble) -> None:
        """Restore a backup: one in two is older than any sidecar, and one of those is cut off."""
        world = self._world
        backup = world.cluster.tables.copy()
        await asyncio.sleep(trouble.for_s)
        if trouble.which % 2:
            backup = self._first
            await self._use_session(place)
            # Longer than a lease lasts, or longer than that and a grace.
            cut_s = (6.0, 3.5)[trouble.which // 2 % 2]
            world.begin(self._while_(place, _CUT, _CUT, cut_s))
        world.oracle.strangers |= {
            each.sidecar.instances.current.instance for each in world.places if each.sidecar
        } - backup.leases.keys()
        world.cluster.restore(backup, longest_grace_ms=LONGEST_GRACE_MS)
        world.people.lost()
        if backup is self._first:
            world.begin(world.people.log_out())
        await world.people.react()

    async def _fail_over(self, number: int, trouble: Trouble) -> None:
        """Fail over, and fence the old primary only later: till then it answers who reads there.

        Meanwhile a sidecar starts anew: after a receipt that it has not heard of, or before one,
        cut off as soon as it has a lease, so that the old primary has no row of it.
        """
        world = self._world
        world.cluster.fail_over()
        if trouble.which % 2:
            await world.people.react()
            crash = replace(trouble, fault=Fault.CRASH_SIDECAR, for_s=0.3)
            await self._restart_sidecar(number, crash)
            await world.people.look_again()
        else:
            stop = replace(trouble, fault=Fault.STOP_SIDECAR, for_s=0.3)
            await self._restart_sidecar(number, stop)
            await asyncio.sleep(1.2)
            world.begin(self._while_(world.places[number], _CUT, _CUT, 3.5))
            await world.people.react()
        await asyncio.sleep(trouble.for_s)
        world.cluster.fence()

    async def _use_session(self, place: Place) -> None:
        """Check a session, so that it is in memory when the lease of this place ends."""
        world = self._world
        for here, verifier in world.verifiers:
            if here is place:
                world.begin(world.check(place, verifier, world.people.session, writes=True))
        await asyncio.sleep(0.05)

    # In the end ---------------------------------------------------------------------------------

    def heal(self, lasting: Lasting) -> frozenset[int]:
        """Heal everything but this, for ever; say which sidecars stay ill."""
        world = self._world
        place, authority = world.places[0], world.authorities[0]
        world.network.heal()
        for each in world.places:
            each.host.nats = "works"
        world.cluster.fence()
        match lasting:
            case Lasting.NOTHING:
                ill = frozenset[int]()
            case Lasting.DEAD_AUTHORITY:
                authority.crash(world.running.pop(authority))
                ill = frozenset[int]()
            case Lasting.DEAD_SIDECAR:
                assert place.sidecar is not None
                place.sidecar.crash(world.running.pop(place.sidecar))
                ill = frozenset({0})
            case Lasting.CUT | Lasting.DEAF | Lasting.MUTE:
                self._weather(
                    place,
                    _GOOD if lasting is Lasting.MUTE else _CUT,
                    _GOOD if lasting is Lasting.DEAF else _CUT,
                )
                ill = frozenset({0})
        self._healed = True
        return ill
