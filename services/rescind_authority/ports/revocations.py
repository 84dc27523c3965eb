"""Revocations as they are stored and listed, and the sweep that stamps what they ended."""

from collections.abc import Collection
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from rescind.core.handles import Handle
from rescind.core.revocation import Event


@dataclass(frozen=True, slots=True)
class Swept:
    """How many tokens the sweep has stamped for a revoke, and whether these are all."""

    tokens: int
    done: bool


@dataclass(frozen=True, slots=True)
class StoredRevocation:
    """A revocation as the table has it: of a kill, whose id two have, its suspension."""

    event: Event
    exact: bool
    lifted_at_us: int | None
    killed: bool = False
    swept: Swept | None = None


@dataclass(frozen=True, slots=True)
class Timed:
    """A standing revocation that ends by itself, in so many microseconds of Postgres's clock."""

    event: Event
    exact: bool
    left_us: int


@dataclass(frozen=True, slots=True)
class Backlog:
    """How far the sweep has come in the ledger, and how many revokes wait for it."""

    swept: int
    head: int
    waiting: int


@dataclass(frozen=True, slots=True)
class SweepCursor:
    """Every revoke up to `seq` is stamped, and of the next one what is not below `before`."""

    seq: int
    before: str | None


@dataclass(frozen=True, slots=True)
class Revoke:
    """A revoke to be stamped: the tokens with all of these handles, of which it hits some."""

    seq: int
    handles: tuple[Handle, ...]


class SweepTransaction(Protocol):
    """One transaction of the sweep; leaving its block without an error commits it."""

    @property
    def place(self) -> SweepCursor:
        """How far the sweep had come when this began."""
        ...

    async def following(self, *, up_to: int, most: int) -> tuple[Revoke, ...]:
        """List the revokes that come next, in their order."""
        ...

    async def stamp(self, seq: int, token_ids: Collection[str]) -> int:
        """Stamp those of the tokens that a revoke hits, and count those that none did before."""
        ...

    async def note(self, place: SweepCursor) -> None:
        """Remember how far the sweep has come."""
        ...


class Sweeps(Protocol):
    """Stamp what revokes ended, one process at a time."""

    async def backlog(self) -> Backlog:
        """Read what is left to do."""
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
        """Delete idempotency keys first used so long ago, but no actor named; say how many."""
        ...


class Revocations(Protocol):
    """Read and list revocations."""

    async def get(self, revocation_id: str) -> StoredRevocation | None:
        """Read one."""
        ...

    async def page(self, *, before_seq: int | None, limit: int) -> tuple[StoredRevocation, ...]:
        """List them, newest first."""
        ...

    async def active_revocations(
        self, handles: Collection[Handle], *, before_seq: int | None, limit: int
    ) -> tuple[StoredRevocation, ...]:
        """List what a lift could end, newest first; where there are handles, what names one."""
        ...

    async def timed(self, *, limit: int) -> tuple[Timed, ...]:
        """List the standing ones that end by themselves, in the order of their ends."""
        ...
