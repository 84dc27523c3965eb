"""Refused calls in the audit, with a bounded number of entries."""

import asyncio
from collections import deque
from itertools import islice

from rescind.errors import RescindError
from rescind_authority.ports.audit import Audit, RefusedCall
from rescind_authority.ports.clock import Clock
from rescind_authority.ports.metrics import Metrics

CAPACITY = 1_000
"""The most entries that wait, and the most that are written at once after a quiet time."""

_PER_S = 1.0
_INTERVAL_S = 1.0
_MAX_AT_ONCE = 100
_NS_PER_S = 1_000_000_000


class RefusalAudit:
    """Write refused calls to the audit, one a second at most in the long run.

    Calls above that rate, and calls that find the queue full while Postgres is unreachable, are
    dropped and counted in `/metrics`. The callers do not wait for the audit.
    """

    def __init__(self, audit: Audit, *, clock: Clock, metrics: Metrics) -> None:
        self._audit = audit
        self._clock = clock
        self._metrics = metrics
        self._waiting: deque[RefusedCall] = deque()
        self._allowance = float(CAPACITY)
        self._as_of_ns: int | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def queue(self, refusal: RefusedCall) -> None:
        """Queue a refused call for the audit, or drop and count it above the bound."""
        if len(self._waiting) >= CAPACITY or not self._spend_allowance():
            self._metrics.refusal_not_audited()
            return
        self._waiting.append(refusal)

    async def run(self) -> None:
        """Write queued calls, until cancelled."""
        while True:
            await asyncio.sleep(_INTERVAL_S)
            await self.write()

    async def write(self) -> None:
        """Write the queued calls; keep them in the queue while Postgres is unreachable."""
        while batch := tuple(islice(self._waiting, _MAX_AT_ONCE)):
            try:
                await self._audit.refused(batch)
            except RescindError:
                return  # Postgres is unreachable, as /readyz reports
            for _ in batch:
                self._waiting.popleft()

    def _spend_allowance(self) -> bool:
        now_ns = self._clock.monotonic_raw_ns()
        passed_ns = 0 if self._as_of_ns is None else now_ns - self._as_of_ns
        self._as_of_ns = now_ns
        self._allowance = min(CAPACITY, self._allowance + passed_ns * _PER_S / _NS_PER_S)
        if self._allowance < 1:
            return False
        self._allowance -= 1
        return True
