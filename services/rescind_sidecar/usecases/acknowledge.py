"""Tell the authority how far the table has come, when somebody waits to hear it."""

import asyncio
from bisect import bisect_right, insort

from rescind.errors import UnreachableError
from rescind.wire import heartbeat
from rescind_sidecar.ports import Link
from rescind_sidecar.usecases.incarnations import Incarnations
from rescind_sidecar.usecases.tally import Tally

_MOST_WISHES = 64


class Acknowledge:
    """Send one acknowledgement for all that was applied meanwhile."""

    def __init__(self, incarnations: Incarnations, link: Link, tally: Tally) -> None:
        self._incarnations = incarnations
        self._link = link
        self._tally = tally
        self._wanted: list[tuple[int, int]] = []
        self._owed = asyncio.Event()

    def wanted(self, message: heartbeat.Wanted) -> None:
        """Remember up to where somebody waits.

        Each wish by itself: anybody can send one, and one that lies too far ahead to come true
        must not stand in front of the true ones.
        """
        wish = (message.epoch, message.seq)
        if wish not in self._wanted:
            insort(self._wanted, wish)
            del self._wanted[_MOST_WISHES:]

    def progressed(self) -> None:
        """Acknowledge if what was wanted is applied now: after the table shows it, not before."""
        applied = self._incarnations.current.view.applied
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
            incarnation = self._incarnations.current
            applied = incarnation.view.applied
            if applied is None or incarnation.voice is None:
                continue
            ack = heartbeat.Ack(
                incarnation.instance,
                next(incarnation.counter),
                applied,
                incarnation.attempts.trail,
            )
            try:
                await self._link.acknowledge(ack, incarnation.voice)
            except UnreachableError:
                continue  # the next heartbeat says the same
            self._tally.acknowledgements += 1
