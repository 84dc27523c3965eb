"""Reports to the authority of the tokens in use (`last_used_at`), at no cost to a check.

A token counts as used when a workload asks the sidecar for it: at its first check in a process, and
again at least every five minutes, when the process's entry ends (`view.judge`). Other checks are
not reported. So `last_used_at` may be five minutes old for a token in constant use, and
half a minute for one that is checked over HTTP or without the table. A report that reaches no
authority is sent again together with the next one, with its own time. A report that is lost on the
way is not repeated.
"""

import asyncio
from itertools import islice

from rescind.errors import UnreachableError
from rescind.wire import usage_report
from rescind_sidecar.ports import AuthorityLink, BootClock, RandomSource
from rescind_sidecar.stats.counters import Counters
from rescind_sidecar.usecases.instance import SidecarInstances

CAPACITY = 50_000
_INTERVAL_S = 30.0


class UsageReports:
    """Collect token ids, and report them every half minute; ids above the capacity are lost."""

    def __init__(
        self,
        instances: SidecarInstances,
        link: AuthorityLink,
        clock: BootClock,
        random_source: RandomSource,
        tally: Counters,
        *,
        interval_s: float = _INTERVAL_S,
        capacity: int = CAPACITY,
    ) -> None:
        self._instances = instances
        self._link = link
        self._clock = clock
        self._random = random_source
        self._tally = tally
        self._interval_s = interval_s
        self._capacity = capacity
        self._token_ids: set[str] = set()
        self._unsent: list[tuple[tuple[str, ...], int]] = []
        self._tokens_unsent = 0

    def __len__(self) -> int:
        return len(self._token_ids) + self._tokens_unsent

    def note(self, token_id: str) -> None:
        """Record that a token was good at a check."""
        if len(self._token_ids) + self._tokens_unsent < self._capacity:
            self._token_ids.add(token_id)
        elif token_id not in self._token_ids:
            self._tally.uses_lost += 1

    async def run(self) -> None:
        """Report every half minute until cancelled."""
        while True:
            await asyncio.sleep(self._interval_s * self._random.jitter())
            await self.report()

    async def report(self) -> None:
        """Report the tokens used since the last report, and those of reports that failed."""
        current = self._instances.current
        credentials, time = current.credentials, current.view.time
        if credentials is None or time is None:
            return
        at_us = max(0, time.earliest_us(self._clock.boottime_ns()))
        unreported = iter(self._token_ids)
        batches, self._unsent, self._tokens_unsent, self._token_ids = self._unsent, [], 0, set()
        while token_ids := tuple(islice(unreported, usage_report.MAX_TOKENS)):
            batches.append((token_ids, at_us))
        for token_ids, then_us in batches:
            try:
                await self._link.used(
                    usage_report.Used(credentials.instance, token_ids, then_us), credentials
                )
            except UnreachableError:
                self._keep(token_ids, then_us)
            else:
                self._tally.uses_reported += len(token_ids)

    def _keep(self, token_ids: tuple[str, ...], at_us: int) -> None:
        if len(self) + len(token_ids) <= self._capacity:
            self._unsent.append((token_ids, at_us))
            self._tokens_unsent += len(token_ids)
        else:
            self._tally.uses_lost += len(token_ids)
