"""Update `last_used_at` from reports of sidecars: late, in batches, and with possible losses.

The reports of a few seconds are merged, so that a token that is used everywhere is written once,
with the services at which it was used. The time of a use is that of the report. The authority's
clock had reached that time when the report was made, so it is never in the future: a recorded
report moves nothing forward.
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
_MAX_AT_ONCE = 5_000
_MAX_US = 1 << 56  # the year 4253: no column holds a time without an end


class Usage:
    """Collect the uses of tokens, and write them.

    Uses are written later if Postgres is unreachable, and dropped above `capacity`.
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

    def collect(self, report: Used) -> None:
        """Collect a report; leave out entries that are not token ids.

        A report without a time, from an older sidecar, is dropped: each replay of it would count as
        new.
        """
        if report.at_us is None or report.at_us > _MAX_US:
            self._metrics.used(written=0, lost=len(report.token_ids))
            return
        uses = [Use(token_id, report.instance, report.at_us) for token_id in report.token_ids]
        self._metrics.used(written=0, lost=sum(not self._collect(use) for use in uses))

    def _collect(self, use: Use) -> bool:
        """Store the latest use of each token and instance. Return False if the use is dropped."""
        key = (use.token_id, use.instance)
        known = key in self._used
        if not public_ids.is_id(use.token_id, "tok") or not (
            known or len(self._used) < self._capacity
        ):
            return False
        self._used[key] = max(use.at_us, self._used.get(key, 0))
        return True

    async def run(self) -> None:
        """Write collected uses, until cancelled."""
        while True:
            await asyncio.sleep(self._interval_s)
            await self.write()

    async def write(self) -> None:
        """Write the uses collected since the last write."""
        used, self._used = self._used, {}
        left = iter(used.items())
        while batch := [Use(*use, at_us) for use, at_us in islice(left, _MAX_AT_ONCE)]:
            try:
                await self._tokens.mark_used(batch)
            except RescindError:
                # Postgres is unreachable, as /readyz reports. A session must not end because of
                # that.
                lost = sum(not self._collect(use) for use in batch)
                self._metrics.used(written=0, lost=lost)
            else:
                self._metrics.used(written=len(batch), lost=0)
