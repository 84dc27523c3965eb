"""Tell the authority which tokens are in use, at a price that no check notices (`last_used_at`).

A token counts as used when the sidecar is asked for it: at its first sight in a process, and again
at least every five minutes, when the process's entry ends (`view.judge`). Checks in between write
nothing anywhere. So `last_used_at` may lie five minutes back for a token that is used all the time,
and half a minute for one that is checked over HTTP or without the table. A report that is lost
stays lost.
"""

import asyncio
from itertools import islice

from rescind.errors import UnreachableError
from rescind.wire import used
from rescind_sidecar.ports import Dice, Link
from rescind_sidecar.usecases.incarnations import Incarnations
from rescind_sidecar.usecases.tally import Tally

CAPACITY = 50_000
_INTERVAL_S = 30.0


class Uses:
    """Collect token ids, and report them every half minute; what does not fit is not reported."""

    def __init__(
        self,
        incarnations: Incarnations,
        link: Link,
        dice: Dice,
        tally: Tally,
        *,
        interval_s: float = _INTERVAL_S,
        capacity: int = CAPACITY,
    ) -> None:
        self._incarnations = incarnations
        self._link = link
        self._dice = dice
        self._tally = tally
        self._interval_s = interval_s
        self._capacity = capacity
        self._seen: set[str] = set()

    def __len__(self) -> int:
        return len(self._seen)

    def note(self, token_id: str) -> None:
        """Note that a token was good at a check."""
        if len(self._seen) < self._capacity:
            self._seen.add(token_id)
        elif token_id not in self._seen:
            self._tally.uses_lost += 1

    async def run(self) -> None:
        """Report, for as long as the process lives."""
        while True:
            await asyncio.sleep(self._interval_s * self._dice.jitter())
            await self.report()

    async def report(self) -> None:
        """Report what was seen since the last report."""
        seen, self._seen = self._seen, set()
        left = iter(seen)
        voice = self._incarnations.current.voice
        if voice is None:
            return
        while token_ids := tuple(islice(left, used.MOST_TOKENS)):
            try:
                await self._link.used(used.Used(voice.instance, token_ids), voice)
            except UnreachableError:
                self._tally.uses_lost += len(token_ids)
            else:
                self._tally.uses_reported += len(token_ids)
