"""Stored revocations, and the sweep that writes revoked marks."""

from collections.abc import Collection
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from rescind.core.handles import Handle
from rescind.core.revocation import Event
from rescind_authority.ports.ledger import CommittedEvent


@dataclass(frozen=True, slots=True)
class Swept:
    """The number of tokens that the sweep has marked for a revoke, and whether these are all."""

    tokens: int
    done: bool


@dataclass(frozen=True, slots=True)
class StoredRevocation:
    """A revocation in the ledger; for a kill, whose id two events share, its suspension.

    `fresh` is as in CommittedEvent. If a caller repeats a key with another request, the event has
    the place and the id of the first commit, and all else as requested.
    """

    event: Event
    exact: bool
    lifted_at_us: int | None = None
    killed: bool = False
    swept: Swept | None = None
    fresh: bool = False

    @property
    def committed(self) -> CommittedEvent:
        """Return the place of the event in the ledger."""
        event = self.event
        return CommittedEvent(
            event.revocation.revocation_id, event.epoch, event.seq, event.at_us, self.fresh
        )


@dataclass(frozen=True, slots=True)
class ScheduledLift:
    """A standing revocation that is to be lifted in `left_us` µs of Postgres's clock."""

    event: Event
    exact: bool
    left_us: int


@dataclass(frozen=True, slots=True)
class Backlog:
    """The sweep's position in the ledger, and the number of revokes that wait for it."""

    swept: int
    head: int
    waiting: int


@dataclass(frozen=True, slots=True)
class SweepCursor:
    """The sweep's progress: all revokes up to `seq`, and the next one's tokens from `before` up."""

    seq: int
    before: str | None


@dataclass(frozen=True, slots=True)
class Revoke:
    """A revoke to be swept. It hits some of the tokens that have all of these handles."""

    seq: int
    handles: tuple[Handle, ...]


class SweepTransaction(Protocol):
    """One transaction of the sweep; leaving its block without an error commits it."""

    @property
    def place(self) -> SweepCursor:
        """Return the progress of the sweep when this transaction began."""
        ...

    async def next_revokes(self, *, up_to: int, most: int) -> tuple[Revoke, ...]:
        """List the next revokes, in their order."""
        ...

    async def mark(self, seq: int, token_ids: Collection[str]) -> int:
        """Mark those of the tokens that a revoke hits. Return how many had no revoked mark."""
        ...

    async def store_progress(self, place: SweepCursor) -> None:
        """Store the progress of the sweep."""
        ...


class Sweeps(Protocol):
    """Write revoked marks, one process at a time."""

    async def backlog(self) -> Backlog:
        """Read the backlog of the sweep."""
        ...

    async def fence(self) -> int:
        """Return a transaction number that serves as a fence.

        All transactions that have written by now have lower numbers.
        """
        ...

    async def passed(self, fence: int) -> bool:
        """Return True if all transactions below a fence have ended."""
        ...

    def turn(self) -> AbstractAsyncContextManager[SweepTransaction | None]:
        """Begin a transaction of the sweep.

        Yields None while another process sweeps.
        """
        ...

    async def forget_keys(self, *, older_than_s: int, but: Collection[str], most: int) -> int:
        """Delete old idempotency keys, except those of the actors `but`. Return how many.

        A key is old if it was first used more than `older_than_s` seconds ago.
        """
        ...


class Revocations(Protocol):
    """Read and list revocations."""

    async def get(self, revocation_id: str) -> StoredRevocation | None:
        """Read one revocation."""
        ...

    async def page(self, *, before_seq: int | None, limit: int) -> tuple[StoredRevocation, ...]:
        """List revocations, newest first."""
        ...

    async def standing_revocations(
        self, handles: Collection[Handle], *, before_seq: int | None, limit: int
    ) -> tuple[StoredRevocation, ...]:
        """List the revocations that a lift could end, newest first.

        With handles, list only those that name one of them.
        """
        ...

    async def scheduled_lifts(self, *, limit: int) -> tuple[ScheduledLift, ...]:
        """List the standing revocations with a time of lifting, the first to be lifted first."""
        ...
