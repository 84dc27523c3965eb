"""The injector of a plan's faults, which also repairs them."""

import asyncio
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

from tests.simulation.actors import TERM_MS
from tests.simulation.network import LinkQuality, now_s
from tests.simulation.plan import Fault, Lasting, Outage, ScheduledFault
from tests.simulation.workload import Place

if TYPE_CHECKING:
    from tests.simulation.world import World

MAX_GRACE_MS = 2_000
"""The longest grace that the operator of a restore assumes; `plan.py` draws no longer one."""

_GOOD, _CUT = LinkQuality(), LinkQuality(cut=True)
_LIMP = LinkQuality(lost=0.4, slow=1.0, slow_s=1.4)


class FaultInjector:
    """The faults of one world, at the times of its plan."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._random = Random(f"{world.plan.seed} troubles")
        self._first = world.cluster.tables.copy()
        self._healed = False

    async def run(self) -> None:
        """Start each fault at its time."""
        world = self._world
        for outage in world.plan.outages:
            world.begin(self._lose_nats(outage))
        for scheduled in world.plan.faults:
            await asyncio.sleep(max(0.0, scheduled.at_s - now_s()))
            world.oracle.count[scheduled.fault.name] += 1
            world.begin(self._inject(scheduled))

    async def _inject(self, scheduled: ScheduledFault) -> None:
        world, fault = self._world, scheduled.fault
        number = scheduled.which % len(world.places)
        place, authority = world.places[number], scheduled.which % len(world.authorities)
        match fault:
            case Fault.WEATHER | Fault.CUT | Fault.DEAF | Fault.MUTE | Fault.LIMP:
                await self._disturb(place, scheduled)
            case Fault.PAUSE_SIDECAR:
                place.host.paused_until_s = now_s() + scheduled.for_s
            case Fault.PAUSE_AUTHORITY:
                world.authority_hosts[authority].paused_until_s = now_s() + scheduled.for_s
            case Fault.CRASH_SIDECAR | Fault.STOP_SIDECAR:
                await self._restart_sidecar(number, scheduled)
            case Fault.CRASH_AUTHORITY:
                await self._restart_authority(authority, scheduled.for_s)
            case Fault.POSTGRES_AWAY:
                world.authorities[authority].postgres_away = True
                await asyncio.sleep(scheduled.for_s)
                world.authorities[authority].postgres_away = False
            case Fault.TERM:
                await world.actors.change_term((1_500, 5_000)[scheduled.which % 2])
                await asyncio.sleep(scheduled.for_s)
                world.begin(self._disturb_link(place, _CUT, _CUT, 5.0))
                await world.actors.change_term(TERM_MS)
                await world.actors.react()
            case Fault.FAILOVER:
                await self._fail_over(number, scheduled)
            case Fault.RESTORE:
                await self._back_up_and_restore(place, scheduled)

    async def _lose_nats(self, outage: Outage) -> None:
        """Disconnect sidecars from NATS for a while: pushes are lost, and HTTP carries the rest."""
        world = self._world
        await asyncio.sleep(outage.at_s)
        world.oracle.count["NATS away"] += 1
        for number in outage.sidecars:
            world.places[number].host.nats = outage.nats
        world.begin(world.actors.react())
        await asyncio.sleep(outage.for_s)
        for number in outage.sidecars:
            world.places[number].host.nats = "works"

    # The links between a sidecar and the authorities --------------------------------------------

    async def _disturb(self, place: Place, scheduled: ScheduledFault) -> None:
        self._world.begin(self._world.actors.react())
        inwards, outwards = {
            Fault.WEATHER: (scheduled.quality, scheduled.quality),
            Fault.DEAF: (_CUT, _GOOD),
            Fault.MUTE: (_GOOD, _CUT),
        }.get(scheduled.fault, (_CUT, _CUT))
        if scheduled.fault is Fault.LIMP:
            await self._disturb_link(place, _LIMP, _LIMP, 1.0)
        await self._disturb_link(place, inwards, outwards, scheduled.for_s)

    async def _disturb_link(
        self, place: Place, inwards: LinkQuality, outwards: LinkQuality, for_s: float
    ) -> None:
        self._set_links(place, inwards, outwards)
        await asyncio.sleep(for_s)
        self._set_links(place, _GOOD, _GOOD)

    def _set_links(self, place: Place, inwards: LinkQuality, outwards: LinkQuality) -> None:
        if self._healed:
            return
        world = self._world
        for host in world.authority_hosts:
            world.network.link(host, place.host).quality = inwards
            world.network.link(place.host, host).quality = outwards

    # The processes ------------------------------------------------------------------------------

    async def _restart_sidecar(self, number: int, scheduled: ScheduledFault) -> None:
        world = self._world
        sidecar = world.places[number].sidecar
        if sidecar is None or sidecar not in world.running:
            return
        task = world.running.pop(sidecar)
        if scheduled.fault is Fault.STOP_SIDECAR:
            sidecar.trigger_heartbeat()  # so that a heartbeat is under way
            await asyncio.sleep(self._random.uniform(0.0, 0.01))
            world.begin(world.actors.react())
            await sidecar.stop(task)
        else:
            sidecar.crash(task)
        await asyncio.sleep(scheduled.for_s / 3)
        world.start_sidecar(number)

    async def _restart_authority(self, number: int, for_s: float) -> None:
        world = self._world
        authority = world.authorities[number]
        if authority not in world.running:
            return
        authority.crash(world.running.pop(authority))
        await asyncio.sleep(for_s / 2)
        world.authorities[number] = world.start_authority(number)

    async def _back_up_and_restore(self, place: Place, scheduled: ScheduledFault) -> None:
        """Restore a backup: one in two is older than any sidecar, and one of those is cut off."""
        world = self._world
        backup = world.cluster.tables.copy()
        await asyncio.sleep(scheduled.for_s)
        if scheduled.which % 2:
            backup = self._first
            await self._use_session(place)
            # Longer than a lease lasts, or longer than that and a grace.
            cut_s = (6.0, 3.5)[scheduled.which // 2 % 2]
            world.begin(self._disturb_link(place, _CUT, _CUT, cut_s))
        world.oracle.strangers |= {
            each.sidecar.instances.current.instance for each in world.places if each.sidecar
        } - backup.leases.keys()
        world.cluster.restore(backup, longest_grace_ms=MAX_GRACE_MS)
        world.actors.lost()
        if backup is self._first:
            world.begin(world.actors.log_out())
        await world.actors.react()

    async def _fail_over(self, number: int, scheduled: ScheduledFault) -> None:
        """Fail over, and fence the old primary later: until then it answers readers.

        Meanwhile a sidecar restarts: after a receipt that it did not receive, or before one,
        cut off as soon as it has a lease, so that the old primary has no row of it.
        """
        world = self._world
        world.cluster.fail_over()
        if scheduled.which % 2:
            await world.actors.react()
            crash = replace(scheduled, fault=Fault.CRASH_SIDECAR, for_s=0.3)
            await self._restart_sidecar(number, crash)
            await world.actors.check_last_receipt()
        else:
            stop = replace(scheduled, fault=Fault.STOP_SIDECAR, for_s=0.3)
            await self._restart_sidecar(number, stop)
            await asyncio.sleep(1.2)
            world.begin(self._disturb_link(world.places[number], _CUT, _CUT, 3.5))
            await world.actors.react()
        await asyncio.sleep(scheduled.for_s)
        world.cluster.fence()

    async def _use_session(self, place: Place) -> None:
        """Check a session, so that it is in memory when the lease of this place ends."""
        world = self._world
        for here, verifier in world.verifiers:
            if here is place:
                world.begin(world.check(place, verifier, world.actors.session, writes=True))
        await asyncio.sleep(0.05)

    # In the end ---------------------------------------------------------------------------------

    def heal(self, lasting: Lasting) -> frozenset[int]:
        """Repair all but one fault; return the numbers of the sidecars that stay affected."""
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
                self._set_links(
                    place,
                    _GOOD if lasting is Lasting.MUTE else _CUT,
                    _GOOD if lasting is Lasting.DEAF else _CUT,
                )
                ill = frozenset({0})
        self._healed = True
        return ill
