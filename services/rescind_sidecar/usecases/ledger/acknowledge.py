"""Report to the authority how far the table has come, when it asks."""

import asyncio
from bisect import bisect_right, insort

from rescind.errors import UnreachableError
from rescind.wire import heartbeat
from rescind_sidecar.ports import AuthorityLink
from rescind_sidecar.stats.counters import Counters
from rescind_sidecar.usecases.instance import SidecarInstances

_MOST_WISHES = 64


class Acknowledge:
    """Send one acknowledgement for all that was applied meanwhile."""

    def __init__(self, instances: SidecarInstances, link: AuthorityLink, tally: Counters) -> None:
        self._instances = instances
        self._link = link
        self._tally = tally
        self._wanted: list[tuple[int, int]] = []
        self._owed = asyncio.Event()

    def wanted(self, message: heartbeat.AckRequest) -> None:
        """Record a position that the authority waits for.

        Each is kept by itself: any peer on NATS can send one, and one that lies too far ahead must
        not hide the genuine ones.
        """
        wish = (message.epoch, message.seq)
        if wish not in self._wanted:
            insort(self._wanted, wish)
            del self._wanted[_MOST_WISHES:]

    def progressed(self) -> None:
        """Acknowledge if what was wanted is applied now: after the table shows it, not before."""
        applied = self._instances.current.view.applied
        if applied is None:
            return
        met = bisect_right(self._wanted, (applied.epoch, applied.seq))
        if met:
            owed = self._wanted[met - 1][0] == applied.epoch
            del self._wanted[:met]
            if owed:
                self._owed.set()

    async def run(self) -> None:
        """Send what is owed, for as long as the process lives."""
        while True:
            await self._owed.wait()
            self._owed.clear()
            current = self._instances.current
            applied = current.view.applied
            if applied is None or current.credentials is None:
                continue
            ack = heartbeat.Ack(
                current.instance,
                next(current.counter),
                applied,
                current.attempts.trail,
            )
            try:
                await self._link.acknowledge(ack, current.credentials)
            except UnreachableError:
                continue  # the next heartbeat says the same
            self._tally.acknowledgements += 1
