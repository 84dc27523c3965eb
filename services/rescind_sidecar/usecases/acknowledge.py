"""Tell the authority how far the table has come, when somebody waits to hear it."""

import asyncio

from rescind.errors import UnreachableError
from rescind.wire import heartbeat
from rescind_sidecar.ports import Link
from rescind_sidecar.usecases.incarnations import Incarnations
from rescind_sidecar.usecases.tally import Tally


class Acknowledge:
    """Send one acknowledgement for all that was applied meanwhile."""

    def __init__(self, incarnations: Incarnations, link: Link, tally: Tally) -> None:
        self._incarnations = incarnations
        self._link = link
        self._tally = tally
        self._wanted: heartbeat.Wanted | None = None
        self._owed = asyncio.Event()

    def wanted(self, message: heartbeat.Wanted) -> None:
        """Remember up to where somebody waits; the furthest wish covers the nearer ones."""
        known = self._wanted
        if known is None or (message.epoch, message.seq) > (known.epoch, known.seq):
            self._wanted = message

    def progressed(self) -> None:
        """Acknowledge if what was wanted is applied now: after the table shows it, not before."""
        wanted, applied = self._wanted, self._incarnations.current.view.applied
        if wanted is None or applied is None or applied.epoch != wanted.epoch:
            return
        if applied.seq >= wanted.seq:
            self._wanted = None
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
            ack = heartbeat.Ack(incarnation.instance, next(incarnation.counter), applied)
            try:
                await self._link.acknowledge(ack, incarnation.voice)
            except UnreachableError:
                continue  # the next heartbeat says the same
            self._tally.acknowledgements += 1
