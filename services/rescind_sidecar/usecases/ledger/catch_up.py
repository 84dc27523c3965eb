"""Catch up with the ledger at once, because a client demands an answer that covers a position.

It closes the race in which a revocation returns in one place, and a check that begins after it in
another place still accepts, because the push is on its way.
"""

import asyncio
from contextlib import suppress

from rescind.errors import UnreachableError
from rescind_sidecar.ports import BootClock
from rescind_sidecar.usecases.instance import SidecarInstances
from rescind_sidecar.usecases.ledger.follow import Follow

# Well below the 250 ms that a check in a workload may take: beyond them it believes that its
# sidecar is gone, and meets it anew with nothing in memory.
_LONGEST_NS = 150_000_000
_PAUSE_NS = 25_000_000


class CatchUp:
    """Request missing events for all waiting checks: one request at a time, and at a bounded rate.

    A position that the ledger does not have is requested in vain. A client that makes up positions,
    in any number of checks at once, costs the authority at most forty requests a second.
    """

    def __init__(self, instances: SidecarInstances, follow: Follow, clock: BootClock) -> None:
        self._instances = instances
        self._follow = follow
        self._clock = clock
        self._flight: asyncio.Future[None] | None = None
        self._vain_ns = -_PAUSE_NS

    async def to(self, seq: int) -> None:
        """Return when this position is applied, or after 150 ms; the caller looks which."""
        ends_ns = self._clock.boottime_ns() + _LONGEST_NS
        with suppress(TimeoutError):
            async with asyncio.timeout(_LONGEST_NS / 1e9):
                # The clock too: on 3.11 a driver's wait_for may swallow the timeout's cancellation.
                while not self._reached(seq) and self._clock.boottime_ns() < ends_ns:
                    await self._ask(seq)

    def _reached(self, seq: int) -> bool:
        return self._instances.current.view.reached(seq)

    async def _ask(self, seq: int) -> None:
        """Send a request, or wait for the one under way, and for the next if it left too early."""
        if self._flight is not None:
            await asyncio.wait([self._flight])
            return
        flight = self._flight = asyncio.get_running_loop().create_future()
        try:
            await self._pause()
            if not self._reached(seq):
                await self._fetch()
        finally:
            self._flight = None
            flight.set_result(None)

    async def _pause(self) -> None:
        """Wait a moment after a request that brought nothing; a push may bring the events."""
        left_ns = self._vain_ns + _PAUSE_NS - self._clock.boottime_ns()
        if left_ns > 0:
            await asyncio.sleep(left_ns / 1e9)

    async def _fetch(self) -> None:
        before = self._instances.current.view.applied
        self._vain_ns = self._clock.boottime_ns()
        with suppress(UnreachableError):  # nothing came, whatever the cause: the caller sees it
            await self._follow.fetch()
        if self._instances.current.view.applied != before:
            self._vain_ns -= _PAUSE_NS
