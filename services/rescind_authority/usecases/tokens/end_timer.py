"""Commit the ends that were set for a time: of a token, and of a secret after its overlap.

Until then verifiers judge by the time. The event makes it a position, which no clock takes back.
Every authority tries, under a key that follows from what ends, so one of them commits it. Nothing
is kept in memory: an authority that starts late finds what is overdue in the table.

The end of a session that was not used for as long as it may be is set here too.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from math import inf

from rescind.core.handles import select
from rescind.core.revocation import Effect, Revocation
from rescind.errors import RescindError
from rescind_authority import actors
from rescind_authority.errors import TokenMovedError
from rescind_authority.ports.clock import Clock
from rescind_authority.ports.keys import Entropy
from rescind_authority.ports.ledger import End, IdempotencyClaim, Key
from rescind_authority.ports.tokens import EndReason, Ends, ScheduledEnd
from rescind_authority.usecases.ledger import new_ids
from rescind_authority.usecases.ledger.batcher import each_of
from rescind_authority.usecases.ledger.sequencer import Committed, RevocationCommand, Sequencer

USE_REPORTED_WITHIN_S = 420
"""How late the authority may hear of a use: what it adds before a session is called idle.

An entry of a workload, five minutes; the sidecar's interval of reports, twice, for one that got
lost; the pause before they are written, and between two writes of one token; a minute to spare.
"""

_LOOK_S = 5.0  # how late an event may be when the authority that was told of it died
_RETRY_S = 1.0
_MOST_AT_ONCE = 256
_US_PER_S = 1_000_000
_REASONS = {
    EndReason.IDLE: "it was not used for as long as it may be",
    EndReason.SURPLUS: "its subject logged in elsewhere, and has as many sessions as it may have",
}


class EndTimer:
    """End each token and each retired secret once its time is up."""

    def __init__(self, ends: Ends, *, sequencer: Sequencer, clock: Clock, entropy: Entropy) -> None:
        self._ends = ends
        self._sequencer = sequencer
        self._clock = clock
        self._entropy = entropy
        self._due = asyncio.Event()
        self._looks_at_s = inf

    def expect(self, in_s: float) -> None:
        """Wake the loop if its next look comes after a new end.

        `in_s` is the number of seconds until that end. The loop then looks again at once.
        """
        if asyncio.get_running_loop().time() + in_s < self._looks_at_s:
            self._due.set()

    async def run(self) -> None:
        """End what is due, until cancelled."""
        while True:
            self._due.clear()
            self._looks_at_s = inf  # what is new while it looks, it may not have seen
            try:
                pause_s = await self.step()
            except RescindError:
                pause_s = _RETRY_S  # Postgres is away, which is said elsewhere
            self._looks_at_s = asyncio.get_running_loop().time() + pause_s
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._due.wait()

    async def step(self) -> float:
        """End what is due, and return in how many seconds to look again.

        Raises RescindError where one could not be ended; the others are, all the same.
        """
        looked_at = await self._ends.end_idle(
            delay_us=USE_REPORTED_WITHIN_S * _US_PER_S, limit=_MOST_AT_ONCE
        )
        pending = await self._ends.pending(limit=_MOST_AT_ONCE)
        due = [each for each in pending if each.left_us <= 0]
        _raise_first(await each_of([partial(self._end, each) for each in due]))
        if _MOST_AT_ONCE in {looked_at, len(due)}:
            return 0
        if len(due) < len(pending):
            return min(_LOOK_S, pending[len(due)].left_us / _US_PER_S)
        return _LOOK_S

    async def _end(self, pending: ScheduledEnd) -> Committed:
        secret = pending.token_hash is not None
        name = pending.token_id if pending.token_hash is None else pending.token_hash.hex()
        revocation = Revocation(
            revocation_id=new_ids.name("rev", self._clock, self._entropy),
            # What was delegated ends with the token, and not with a secret of it.
            selector=select([f"token:{pending.token_id}"], exact=secret),
            effect=Effect.CHANGED,
            reason=_reason(pending),
            actor=actors.SCHEDULED_END,
        )
        claim = IdempotencyClaim(
            Key(actors.SCHEDULED_END, name), hashlib.sha256(name.encode()).digest()
        )
        end = End(pending.token_id, pending.token_hash)
        return await self._sequencer.commit(
            RevocationCommand(claim, revocation, exact=secret, change=end)
        )


def _reason(pending: ScheduledEnd) -> str:
    if pending.token_hash is not None:
        return "its overlap is over"
    return "its time was up" if pending.reason is None else _REASONS[pending.reason]


def _raise_first(outcomes: Sequence[Committed | RescindError]) -> None:
    for outcome in outcomes:
        # Ended by another command meanwhile, which is as good.
        if isinstance(outcome, RescindError) and not isinstance(outcome, TokenMovedError):
            raise outcome
