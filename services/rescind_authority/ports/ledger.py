"""The ledger: transactions that extend it, what reads it, and its epochs."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from rescind.core.handles import Handle
from rescind.core.ledger import Position
from rescind.core.revocation import Event
from rescind_authority.ports.tokens import IssuanceSnapshot, IssueTimes, NewToken, Snapshot


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """An idempotency key, which belongs to its actor."""

    actor: str
    key: str


@dataclass(frozen=True, slots=True)
class IdempotencyClaim:
    """A wish to be the first to use a key, for a request with this SHA-256."""

    key: Key
    body_hash: bytes


@dataclass(frozen=True, slots=True)
class Claimed:
    """Who came first under a key: `answer` is None when it was this very claim."""

    body_hash: bytes
    answer: str | None


@dataclass(frozen=True, slots=True)
class LedgerTip:
    """The ledger's end as one snapshot shows it. `at_us` is Postgres's clock (Unix µs)."""

    position: Position
    grant_term_ms: int
    at_us: int


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One event as the ledger stores it: its bytes, and the head after them."""

    event: Event
    payload: bytes
    head: bytes


@dataclass(frozen=True, slots=True)
class EventRange:
    """Events in order: the first one is `first_seq`. `epoch` and `last` are the ledger's own."""

    epoch: int
    last: int
    first_seq: int
    payloads: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Rotation:
    """A new secret for a token, in place of the one with this hash (None: whichever it has)."""

    token_id: str
    replaces: bytes | None
    token_hash: bytes
    overlap_us: int
    reuse_revokes: bool
    possession_hash: bytes | None = None


@dataclass(frozen=True, slots=True)
class Expiry:
    """An earlier end for a token, in Unix microseconds; None: now."""

    token_id: str
    at_us: int | None


@dataclass(frozen=True, slots=True)
class End:
    """The end of a token, or of that retired secret of it whose hash this is."""

    token_id: str
    token_hash: bytes | None = None


Change = Rotation | Expiry | End
"""A change to one token. An `End` is one whose time is up; the others may end something too."""


@dataclass(frozen=True, slots=True)
class RecordedChange:
    """A change that was made; `end` is what its event ends, None where nothing ends yet."""

    end: End | None = None


class LedgerTransaction(Protocol):
    """One transaction of the sequencer; leaving its block without an error commits it."""

    async def change(self, change: Change) -> RecordedChange | None:
        """Change a token that is live and as the change expects it; else do nothing: None."""
        ...

    async def claim(self, claims: Sequence[IdempotencyClaim]) -> Mapping[Key, Claimed]:
        """Claim the keys in the order given.

        Waits for a transaction that holds one of them.
        """
        ...

    async def lock_head(self) -> LedgerTip:
        """Lock the head row, and read it and the clock under the lock."""
        ...

    async def append(
        self,
        entries: Sequence[LedgerEntry],
        *,
        exact: Collection[str],
        head: Position,
        answers: Mapping[Key, str],
        ends: Mapping[End, int],
    ) -> None:
        """Write events, revocations, audit entries, the new head, and what each key is to answer.

        `exact` names revocations; `ends` says at which seq tokens and retired secrets end. One
        statement: for all of it the head is locked.
        """
        ...

    async def answer(self, answers: Mapping[Key, str]) -> None:
        """Keep what each key is to answer when it comes again."""
        ...

    async def footing(
        self, parent_hash: bytes | None, handles: Collection[Handle]
    ) -> IssuanceSnapshot:
        """Read what a token with these handles, and those it inherits, would stand on."""
        ...

    async def presented(self, token_hash: bytes) -> Snapshot:
        """Read the token whose secret was presented, in a new snapshot of this transaction."""
        ...

    async def lock_sessions(self, subject: str) -> None:
        """Lock the sessions of a subject against other issuers, until the COMMIT."""
        ...

    async def end_surplus(self, subject: str, *, keep: int) -> int:
        """End the sessions of a subject now, but for those used last. Return how many end."""
        ...

    async def insert_token(self, token: NewToken, issued: IssueTimes) -> None:
        """Store a token and its audit entry."""
        ...


class Transactions(Protocol):
    """Begin transactions that write."""

    def begin(self) -> AbstractAsyncContextManager[LedgerTransaction]:
        """Open one. Raises OutcomeUnknownError when the connection dies during COMMIT."""
        ...


class Ledger(Protocol):
    """Read the ledger."""

    async def tip(self) -> LedgerTip:
        """Read the ledger's end in a new snapshot, on a server that is not in recovery."""
        ...

    async def after(self, seq: int, *, limit: int) -> EventRange:
        """Read the events after a position."""
        ...


@dataclass(frozen=True, slots=True)
class Epoch:
    """One incarnation of the ledger, and where it began. `began_us` is Postgres's clock."""

    number: int
    base_seq: int
    base_head: bytes
    began_us: int


class Epochs(Protocol):
    """Read the ledger's epochs, and what it holds of them."""

    async def known(self) -> tuple[Epoch, ...]:
        """List them, the first one first."""
        ...

    async def payloads(self, seqs: Collection[int]) -> Mapping[int, bytes]:
        """Read the events at these seqs, of whatever epoch; what is not there is left out."""
        ...
