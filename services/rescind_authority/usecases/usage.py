"""Keep `last_used_at` from what sidecars report: late, in batches, and some of it may be lost.

The reports of a few seconds are merged, so that a token that is used everywhere is written once,
with the services at which it was.
The time is Postgres's when it is written: no sidecar's clock is believed.
"""

import asyncio
from itertools import islice

from rescind.core import ids
from rescind.errors import RescindError
from rescind.wire.used import Used
from rescind_authority.metrics import Metrics
from rescind_authority.ports.lists import Tokens

CAPACITY = 100_000
_INTERVAL_S = 5.0
_MOST_AT_ONCE = 5_000


class Usage:
    """Collect who used which token, and write it.

    What does not fit, or finds no Postgres, is dropped.
    """

    def __init__(
        self,
        tokens: Tokens,
        *,
        metrics: Metrics,
        interval_s: float = _INTERVAL_S,
        capacity: int = CAPACITY,
    ) -> None:
        self._tokens = tokens
        self._metrics = metrics
        self._interval_s = interval_s
        self._capacity = capacity
        self._used: set[tuple[str, bytes]] = set()

    def __len__(self) -> int:
        return len(self._used)

    def note(self, report: Used) -> None:
        """Take a report; what is no token's id in it is left out."""
        lost = 0
        for token_id in report.token_ids:
            if not ids.is_id(token_id, "tok"):
                lost += 1
            elif len(self._used) < self._capacity:
                self._used.add((token_id, report.instance))
            elif (token_id, report.instance) not in self._used:
                lost += 1
        self._metrics.used(written=0, lost=lost)

    async def run(self) -> None:
        """Write what was reported, until cancelled."""
        while True:
            await asyncio.sleep(self._interval_s)
            await self.write()

    async def write(self) -> None:
        """Write what was reported since the last time."""
        used, self._used = self._used, set()
        left = iter(used)
        while batch := tuple(islice(left, _MOST_AT_ONCE)):
            try:
                await self._tokens.mark_used(batch)
            except RescindError:
                # Postgres is away, as /readyz says; nobody waits for this.
                self._metrics.used(written=0, lost=len(batch))
            else:
                self._metrics.used(written=len(batch), lost=0)
