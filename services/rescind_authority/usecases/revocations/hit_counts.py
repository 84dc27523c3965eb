"""Counts of the tokens that revocations hit, made beside the commit and never in its path.

A count is as of the event's own place in the ledger, so that each read returns the same count.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass

from rescind.core.revocation import Effect, Event
from rescind.errors import RescindError
from rescind_authority.ports.revocations import Revocations
from rescind_authority.ports.token_search import Tokens
from rescind_authority.usecases.revocations.preview import MAX_COUNTED

_AT_ONCE = 4  # of the twelve connections to Postgres: the sequencer never waits for a count
_MAX_WAITING = 256
_MAX_KEPT = 1_024
_DEADLINE_S = 2.0
AFTER_A_WAIT_S = 0.25
"""The time in seconds that a count has left after its wait, so that the receipt is not late."""

_COUNTED = frozenset({Effect.REVOKE, Effect.SUSPEND, Effect.NARROW, Effect.LIFT})


@dataclass(frozen=True, slots=True)
class HitCount:
    """The number of matching tokens that had not ended, and of their subjects.

    If not `exact`, `tokens` is an estimate, and `subjects` a lower bound.
    """

    tokens: int
    subjects: int
    exact: bool


_NOTHING = HitCount(0, 0, exact=True)


class HitCounter:
    """Count the tokens that events hit: a few events at a time, each within a deadline."""

    def __init__(self, tokens: Tokens, *, revocations: Revocations) -> None:
        self._tokens = tokens
        self._revocations = revocations
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._waiting = 0
        # A count does not change any more: the writer of the receipt and the answer share it.
        self._counts: OrderedDict[tuple[int, int], HitCount] = OrderedDict()

    async def count(
        self, event: Event, *, killed: bool = False, deadline_s: float | None = None
    ) -> HitCount | None:
        """Return the count of an event, or None if it is not counted, or not in time.

        For a kill, `event` is the suspend, and the revoke right before it is counted.
        """
        known = self._counts.get((event.epoch, event.seq))
        if known is not None:
            return known
        if event.revocation.effect not in _COUNTED or self._waiting >= _MAX_WAITING:
            return None
        self._waiting += 1
        try:
            async with asyncio.timeout(deadline_s or _DEADLINE_S), self._slots:
                hit = await self._count_at(event, seq=event.seq - killed)
        except (TimeoutError, RescindError):
            return None  # the command is done, and its answer need not wait any longer
        finally:
            self._waiting -= 1
        self._counts[event.epoch, event.seq] = hit
        if len(self._counts) > _MAX_KEPT:
            self._counts.popitem(last=False)
        return hit

    async def _count_at(self, event: Event, *, seq: int) -> HitCount:
        revocation = event.revocation
        if revocation.lifts is not None:
            lifted = await self._revocations.get(revocation.lifts)
            if lifted is None or lifted.lifted_at_us != event.at_us:
                return _NOTHING  # another lift came before this one
        found = await self._tokens.radius(
            revocation.selector.handles,
            issued_before_us=revocation.issued_before_us,
            most=MAX_COUNTED,
            seq=seq,
        )
        return HitCount(found.tokens, found.subjects, found.exact)
