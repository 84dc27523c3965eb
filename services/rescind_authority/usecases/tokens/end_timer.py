"""Commit scheduled ends: of a token, and of a secret after its overlap.

Until the event, verifiers decide by the time. The event makes the end a position, which no clock
can undo. Every authority tries, under an idempotency key that is derived from the token or the
secret, so one of them commits the event. Nothing is kept in memory: an authority that starts late
finds overdue ends in the table.

The end of a session that was unused for its idle time is set here too.
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
from rescind_authority.ports.ledger import CommittedEvent, End, IdempotentRequest, Key
from rescind_authority.ports.tokens import EndReason, Ends, ScheduledEnd
from rescind_authority.usecases.ledger import new_ids
from rescind_authority.usecases.ledger.batcher import run_concurrently
from rescind_authority.usecases.ledger.sequencer import LedgerCommand, Sequencer

USE_REPORTED_WITHIN_S = 420
"""The longest delay of a report of a use, added to the idle time of a session (seconds).

It is the sum of: five minutes for an entry of a workload; twice the sidecar's interval of reports,
in case one report is lost; the pauses before reports are written and between two writes of one
token; and a minute to spare.
"""

_POLL_S = 5.0  # how late an event may be if the authority that expected it died
_RETRY_S = 1.0
_MAX_AT_ONCE = 256
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
        self._next_step_at_s = inf

    def expect(self, in_s: float) -> None:
        """Wake the loop if its next look comes after a new end.

        `in_s` is the number of seconds until that end. The loop then looks again at once.
        """
        if asyncio.get_running_loop().time() + in_s < self._next_step_at_s:
            self._due.set()

    async def run(self) -> None:
        """Commit due ends, until cancelled."""
        while True:
            self._due.clear()
            self._next_step_at_s = inf  # the step may miss ends that are set while it runs
            try:
                pause_s = await self.step()
            except RescindError:
                pause_s = _RETRY_S  # Postgres is unreachable, which is logged elsewhere
            self._next_step_at_s = asyncio.get_running_loop().time() + pause_s
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._due.wait()

    async def step(self) -> float:
        """Commit due ends, and return the number of seconds until the next step.

        Raises RescindError if one end failed; the others are committed all the same.
        """
        examined = await self._ends.end_idle(
            delay_us=USE_REPORTED_WITHIN_S * _US_PER_S, limit=_MAX_AT_ONCE
        )
        pending = await self._ends.pending(limit=_MAX_AT_ONCE)
        due = [each for each in pending if each.left_us <= 0]
        _raise_first(await run_concurrently([partial(self._end, each) for each in due]))
        if _MAX_AT_ONCE in {examined, len(due)}:
            return 0
        if len(due) < len(pending):
            return min(_POLL_S, pending[len(due)].left_us / _US_PER_S)
        return _POLL_S

    async def _end(self, pending: ScheduledEnd) -> CommittedEvent:
        secret = pending.token_hash is not None
        name = pending.token_id if pending.token_hash is None else pending.token_hash.hex()
        revocation = Revocation(
            revocation_id=new_ids.generate("rev", self._clock, self._entropy),
            # Delegated tokens end with the token, and not with one of its secrets.
            selector=select([f"token:{pending.token_id}"], exact=secret),
            effect=Effect.CHANGED,
            reason=_reason_of(pending),
            actor=actors.SCHEDULED_END,
        )
        idempotency = IdempotentRequest(
            Key(actors.SCHEDULED_END, name), hashlib.sha256(name.encode()).digest()
        )
        end = End(pending.token_id, pending.token_hash)
        return await self._sequencer.commit(
            LedgerCommand(idempotency, revocation, exact=secret, change=end)
        )


def _reason_of(pending: ScheduledEnd) -> str:
    if pending.token_hash is not None:
        return "its overlap is over"
    return "its time was up" if pending.reason is None else _REASONS[pending.reason]


def _raise_first(outcomes: Sequence[CommittedEvent | RescindError]) -> None:
    for outcome in outcomes:
        # TokenMovedError: another command ended it meanwhile, which is as good.
        if isinstance(outcome, RescindError) and not isinstance(outcome, TokenMovedError):
            raise outcome
