"""Fetching events at once, for a client that requires an answer as of a position.

It closes a race between two places: a revocation returns in one place, and a check that begins
afterwards in the other still accepts, because the push has not arrived yet.
"""

import asyncio
from contextlib import suppress

from rescind.errors import UnreachableError
from rescind_sidecar.ports import BootClock
from rescind_sidecar.usecases.instance import SidecarInstances
from rescind_sidecar.usecases.ledger.follow import LedgerFollower

# Well below the 250 ms that a check in a workload may take: after them the workload assumes that
# the sidecar is gone, and connects again with no entries in memory.
_MAX_NS = 150_000_000
_PAUSE_NS = 25_000_000


class CatchUp:
    """Request missing events for all waiting checks: one request at a time, and at a bounded rate.

    A request for a position that the ledger does not have returns no events. A client that invents
    positions, in any number of concurrent checks, causes at most forty requests a second.
    """

    def __init__(
        self, instances: SidecarInstances, follow: LedgerFollower, clock: BootClock
    ) -> None:
        self._instances = instances
        self._follow = follow
        self._clock = clock
        self._flight: asyncio.Future[None] | None = None
        self._empty_fetch_ns = -_PAUSE_NS

    async def wait_for(self, seq: int) -> None:
        """Wait until this position is applied, or 150 ms; the caller checks which came first."""
        ends_ns = self._clock.boottime_ns() + _MAX_NS
        with suppress(TimeoutError):
            async with asyncio.timeout(_MAX_NS / 1e9):
                # The clock too: on 3.11 a driver's wait_for may swallow the timeout's cancellation.
                while not self._has_reached(seq) and self._clock.boottime_ns() < ends_ns:
                    await self._fetch_once(seq)

    def _has_reached(self, seq: int) -> bool:
        return self._instances.current.view.reached(seq)

    async def _fetch_once(self, seq: int) -> None:
        """Send a request, or wait for the one under way, which may have left too early."""
        if self._flight is not None:
            await asyncio.wait([self._flight])
            return
        flight = self._flight = asyncio.get_running_loop().create_future()
        try:
            await self._pause()
            if not self._has_reached(seq):
                await self._fetch()
        finally:
            self._flight = None
            flight.set_result(None)

    async def _pause(self) -> None:
        """Wait until 25 ms after a request without events; a push may bring them."""
        left_ns = self._empty_fetch_ns + _PAUSE_NS - self._clock.boottime_ns()
        if left_ns > 0:
            await asyncio.sleep(left_ns / 1e9)

    async def _fetch(self) -> None:
        before = self._instances.current.view.applied
        self._empty_fetch_ns = self._clock.boottime_ns()
        with suppress(UnreachableError):  # no events arrived; the caller checks the position
            await self._follow.fetch_missing()
        if self._instances.current.view.applied != before:
            self._empty_fetch_ns -= _PAUSE_NS
