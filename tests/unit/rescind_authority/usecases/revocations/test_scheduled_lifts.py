"""Timed revocations: one that cannot be lifted does not keep the others from being lifted."""

import secrets
from typing import Any

from rescind.core.handles import select
from rescind.core.revocation import Effect, Event, Revocation
from rescind_authority.errors import KeyReusedError
from rescind_authority.ports.ledger import CommittedEvent
from rescind_authority.ports.revocations import ScheduledLift
from rescind_authority.usecases.ledger.sequencer import LedgerCommand
from rescind_authority.usecases.revocations.scheduled_lifts import LiftScheduler
from rescind_runtime.clock import SystemClock


def timed(name: str) -> ScheduledLift:
    """Make a suspension whose time is up."""
    revocation = Revocation(name, select(["tenant:t"]), Effect.SUSPEND, "", "admin:a")
    return ScheduledLift(Event(1, 1, 0, revocation), exact=False, left_us=-1)


class Overdue:
    """Overdue lifts, and a sequencer whose first key another process took."""

    def __init__(self) -> None:
        self.lifted: list[str | None] = []

    async def scheduled_lifts(self, *, limit: int) -> tuple[ScheduledLift, ...]:
        return timed("rev_taken"), timed("rev_two"), timed("rev_three")

    async def commit(self, command: LedgerCommand) -> CommittedEvent:
        if command.idempotency.key.key == "rev_taken":
            raise KeyReusedError
        self.lifted.append(command.revocation.lifts)
        return CommittedEvent(command.revocation.revocation_id, 1, 2, 0)


async def test_a_lift_whose_key_was_used_already_delays_no_other() -> None:
    overdue: Any = Overdue()
    keeper = LiftScheduler(
        overdue, sequencer=overdue, clock=SystemClock(), entropy=secrets.token_bytes
    )
    await keeper.step()
    assert overdue.lifted == ["rev_two", "rev_three"]
