"""Acknowledgements: reports of the position that the table shows, on the authority's request."""

import asyncio
from bisect import bisect_right, insort

from rescind.errors import UnreachableError
from rescind.wire import heartbeat
from rescind_sidecar.ports import AuthorityLink
from rescind_sidecar.stats.counters import Counters
from rescind_sidecar.usecases.instance import SidecarInstances

_MAX_POSITIONS = 64


class Acknowledger:
    """Send acknowledgements; one covers all positions that were applied in the meantime."""

    def __init__(self, instances: SidecarInstances, link: AuthorityLink, tally: Counters) -> None:
        self._instances = instances
        self._link = link
        self._tally = tally
        self._requested: list[tuple[int, int]] = []
        self._owed = asyncio.Event()

    def add_request(self, message: heartbeat.AckRequest) -> None:
        """Record a position that the authority waits for.

        Each position is stored separately: any peer on NATS can send one, and one that is too far
        ahead must not hide the genuine ones. Above 64, the highest positions are dropped.
        """
        position = (message.epoch, message.seq)
        if position not in self._requested:
            insort(self._requested, position)
            del self._requested[_MAX_POSITIONS:]

    def acknowledge_applied(self) -> None:
        """Acknowledge the requested positions that are applied now.

        Call this after the table shows them, not before.
        """
        applied = self._instances.current.view.applied
        if applied is None:
            return
        count = bisect_right(self._requested, (applied.epoch, applied.seq))
        if count:
            is_owed = self._requested[count - 1][0] == applied.epoch
            del self._requested[:count]
            if is_owed:
                self._owed.set()

    async def run(self) -> None:
        """Send due acknowledgements until cancelled."""
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
                continue  # the next heartbeat contains the same position
            self._tally.acknowledgements += 1
