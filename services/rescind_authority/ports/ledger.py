"""The ledger: transactions that extend it, reads, and its epochs."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from typing import Protocol

from rescind.core.handles import Handle
from rescind.core.ledger import Position
from rescind.core.revocation import Event, Revocation
from rescind_authority.ports.clients import StoredClient
from rescind_authority.ports.tokens import IssuanceSnapshot, IssueTimes, NewToken, Snapshot


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """An idempotency key, which belongs to its actor."""

    actor: str
    key: str


@dataclass(frozen=True, slots=True)
class IdempotentRequest:
    """An idempotency key with the SHA-256 of its request."""

    key: Key
    body_hash: bytes


@dataclass(frozen=True, slots=True)
class FirstRequest:
    """The first request under a key. `answer` is None until it has one.

    A caller that has locked the key and reads None has sent the first request itself.
    """

    body_hash: bytes
    answer: str | None


@dataclass(frozen=True, slots=True)
class LedgerTip:
    """The ledger's end in one snapshot. `at_us` is Postgres's clock (Unix µs)."""

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
class CommittedEvent:
    """The place of a command's last event in the ledger, the same for every repeat of its key.

    `at_us` is the event's own time. `fresh` means that this call, or another call in the same
    batch, committed the event.
    """

    revocation_id: str
    epoch: int
    seq: int
    at_us: int
    fresh: bool = field(default=False, compare=False)

    def event(self, revocation: Revocation) -> Event:
        """Return the event of a revocation at this place, under the id of the first commit."""
        return Event(
            self.epoch, self.seq, self.at_us, replace(revocation, revocation_id=self.revocation_id)
        )


@dataclass(frozen=True, slots=True)
class EventRange:
    """Events in order, from `first_seq` on. `epoch` and `last` are those of the whole ledger."""

    epoch: int
    last: int
    first_seq: int
    payloads: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Rotation:
    """A new secret for a token, in place of that with hash `replaces` (None: the current one)."""

    token_id: str
    replaces: bytes | None
    token_hash: bytes
    overlap_us: int
    reuse_revokes: bool
    possession_hash: bytes | None = None


@dataclass(frozen=True, slots=True)
class Expiry:
    """An earlier end for a token: `at_us` in Unix microseconds, or None for now."""

    token_id: str
    at_us: int | None


@dataclass(frozen=True, slots=True)
class End:
    """The end of a token, or of its retired secret with hash `token_hash`."""

    token_id: str
    token_hash: bytes | None = None


Change = Rotation | Expiry | End
"""A change to one token. An `End` is due; the other changes may also end a token or secret."""


@dataclass(frozen=True, slots=True)
class RecordedChange:
    """A recorded change, with the `end` that its event brings; None if nothing ends yet."""

    end: End | None = None


class LedgerTransaction(Protocol):
    """One transaction of the sequencer; leaving its block without an error commits it."""

    async def change(self, change: Change) -> RecordedChange | None:
        """Change a live token in the expected state; otherwise do nothing and return None."""
        ...

    async def lock_keys(self, requests: Sequence[IdempotentRequest]) -> Mapping[Key, FirstRequest]:
        """Lock the keys of requests, in the order given; return the first request under each key.

        Waits for a transaction that holds one of them. A key that is new is stored.
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
        """Write events, revocations, audit entries, the new head, and the answer of each key.

        `exact` names revocations. `ends` maps tokens and retired secrets to the seq at which they
        end. All is written in one statement, because the head is locked meanwhile.
        """
        ...

    async def store_answers(self, answers: Mapping[Key, str]) -> None:
        """Store the answer of each key, for a repeat under the key."""
        ...

    async def read_issuance(
        self, parent_hash: bytes | None, handles: Collection[Handle]
    ) -> IssuanceSnapshot:
        """Read the issuance snapshot of a token with these handles and those that it inherits."""
        ...

    async def read_presented(self, token_hash: bytes) -> Snapshot:
        """Read the token whose secret was presented, in a new snapshot of this transaction."""
        ...

    async def lock_sessions(self, subject: str) -> None:
        """Lock the sessions of a subject against other issuers, until the COMMIT."""
        ...

    async def end_surplus(self, subject: str, *, keep: int) -> int:
        """End the sessions of a subject now, except the `keep` last used. Return how many end."""
        ...

    async def insert_token(self, token: NewToken, issued: IssueTimes) -> None:
        """Store a token and its audit entry."""
        ...

    async def put_client(self, client: StoredClient, *, replaces: str | None, actor: str) -> bool:
        """Store a client and its audit entry.

        `replaces` is the credential that a stored client has now; None for a client that is new.
        Returns False, and stores nothing, if the stored client is another, or was removed.
        """
        ...


class Transactions(Protocol):
    """Begin transactions that write."""

    def begin(self) -> AbstractAsyncContextManager[LedgerTransaction]:
        """Open a transaction. Raises CommitUnknownError if the connection dies during COMMIT."""
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
    """Read the ledger's epochs, and their events."""

    async def known(self) -> tuple[Epoch, ...]:
        """List the epochs, the first one first."""
        ...

    async def payloads(self, seqs: Collection[int]) -> Mapping[int, bytes]:
        """Read the events at these seqs, of any epoch; missing events are left out."""
        ...
