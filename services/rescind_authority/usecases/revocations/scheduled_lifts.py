"""Lift temporary suspensions and narrowings when their time is up.

The time alone ends nothing: the revocation applies until its lift is in the ledger. Every authority
tries, under an idempotency key that is derived from the revocation's id, so one of them commits the
lift. Nothing is kept in memory: an authority that starts late finds overdue lifts in the table.
"""

import asyncio
import hashlib
from contextlib import suppress

from rescind.core.revocation import lift_of
from rescind_authority import actors
from rescind_authority.errors import KeyReusedError
from rescind_authority.ports.clock import Clock
from rescind_authority.ports.keys import Entropy
from rescind_authority.ports.ledger import IdempotentRequest, Key
from rescind_authority.ports.revocations import Revocations, ScheduledLift
from rescind_authority.usecases.ledger import new_ids
from rescind_authority.usecases.ledger.sequencer import LedgerCommand, Sequencer
from rescind_authority.usecases.step_timer import run_steps

_POLL_S = 5.0  # how late a lift may be if the authority that committed the revocation died
_RETRY_S = 1.0
_MAX_AT_ONCE = 64
_US_PER_S = 1_000_000


class LiftScheduler:
    """Lift each timed revocation once its time is up."""

    def __init__(
        self, revocations: Revocations, *, sequencer: Sequencer, clock: Clock, entropy: Entropy
    ) -> None:
        self._revocations = revocations
        self._sequencer = sequencer
        self._clock = clock
        self._entropy = entropy
        self._due = asyncio.Event()

    def wake(self) -> None:
        """Wake the loop for a new timed revocation, which may be the next to lift."""
        self._due.set()

    async def run(self) -> None:
        """Lift due revocations, until cancelled."""
        await run_steps(self._due, self.step, retry_s=_RETRY_S)

    async def step(self) -> float:
        """Lift due revocations, and return the number of seconds until the next step."""
        scheduled = await self._revocations.scheduled_lifts(limit=_MAX_AT_ONCE)
        for each in scheduled:
            if each.left_us > 0:
                return min(_POLL_S, each.left_us / _US_PER_S)
            # If another command has the key (of a token from before such subjects were refused),
            # the later revocations must not wait; an administrator can lift this one.
            with suppress(KeyReusedError):
                await self._lift(each)
        return 0 if len(scheduled) == _MAX_AT_ONCE else _POLL_S

    async def _lift(self, scheduled: ScheduledLift) -> None:
        name = scheduled.event.revocation.revocation_id
        revocation_id = new_ids.generate("rev", self._clock, self._entropy)
        revocation = lift_of(
            scheduled.event,
            revocation_id=revocation_id,
            reason="its time was up",
            actor=actors.SCHEDULED_LIFT,
        )
        idempotency = IdempotentRequest(
            Key(actors.SCHEDULED_LIFT, name), hashlib.sha256(name.encode()).digest()
        )
        await self._sequencer.commit(LedgerCommand(idempotency, revocation, exact=scheduled.exact))
