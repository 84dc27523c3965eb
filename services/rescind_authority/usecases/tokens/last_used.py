"""Keep `last_used_at` from what sidecars report: late, in batches, and some of it may be lost.

The reports of a few seconds are merged, so that a token that is used everywhere is written once,
with the services at which it was.
The time is that of the report, which is a time that the authority's clock had reached when the
report was made, and never one that is still to come: a recorded report moves nothing forward.
"""

import asyncio
from itertools import islice

from rescind.core import public_ids
from rescind.errors import RescindError
from rescind.wire.usage_report import Used
from rescind_authority.ports.metrics import Metrics
from rescind_authority.ports.token_search import Tokens, Use

CAPACITY = 100_000
_INTERVAL_S = 5.0
_MOST_AT_ONCE = 5_000
_MOST_US = 1 << 56  # the year 4253: no column holds a time without an end


class Usage:
    """Collect who used which token, and write it.

    What finds no Postgres is written later, and what does not fit is dropped.
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
        self._used: dict[tuple[str, bytes], int] = {}

    def __len__(self) -> int:
        return len(self._used)

    def note(self, report: Used) -> None:
        """Collect a report; what is not a token's id in it is left out.

        One without a time, of an older sidecar, is lost: it would be new whenever it is said again.
        """
        if report.at_us is None or report.at_us > _MOST_US:
            self._metrics.used(written=0, lost=len(report.token_ids))
            return
        uses = [Use(token_id, report.instance, report.at_us) for token_id in report.token_ids]
        self._metrics.used(written=0, lost=sum(not self._collect(use) for use in uses))

    def _collect(self, use: Use) -> bool:
        """Keep a use, the latest of each token and instance. Return False where it is lost."""
        key = (use.token_id, use.instance)
        known = key in self._used
        if not public_ids.is_id(use.token_id, "tok") or not (
            known or len(self._used) < self._capacity
        ):
            return False
        self._used[key] = max(use.at_us, self._used.get(key, 0))
        return True

    async def run(self) -> None:
        """Write what was reported, until cancelled."""
        while True:
            await asyncio.sleep(self._interval_s)
            await self.write()

    async def write(self) -> None:
        """Write what was reported since the last time."""
        used, self._used = self._used, {}
        left = iter(used.items())
        while batch := [Use(*use, at_us) for use, at_us in islice(left, _MOST_AT_ONCE)]:
            try:
                await self._tokens.mark_used(batch)
            except RescindError:
                # Postgres is away, as /readyz says. A session must not end for that.
                lost = sum(not self._collect(use) for use in batch)
                self._metrics.used(written=0, lost=lost)
            else:
                self._metrics.used(written=len(batch), lost=0)
