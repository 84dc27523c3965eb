"""Leases, the waits for them, receipts, and the lease term."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from rescind.wire.heartbeat import Heartbeat, Release
from rescind_authority.ports.ledger import LedgerEntry, LedgerTip


@dataclass(frozen=True, slots=True)
class Instance:
    """The lease row of a sidecar. Times are Unix microseconds of Postgres's clock.

    `credential` is the id of the token with which it enrolled, None if that is not known.
    `trust_serial` is the number of its trust statement, None if it does not report one.
    """

    instance: bytes
    service: str
    host: str
    version: str
    posture: str
    epoch: int | None
    applied_seq: int | None
    acked_seq: int
    first_seen_us: int
    last_seen_us: int
    released_at_us: int | None
    credential: str | None = None
    evicted_at_us: int | None = None
    evicted_why: str | None = None
    trust_serial: int | None = None


@dataclass(frozen=True, slots=True)
class CommittedBeats:
    """The instances whose heartbeats counted, and the ledger's end after the commit."""

    counted: frozenset[bytes]
    tip: LedgerTip


@dataclass(frozen=True, slots=True)
class RefusedHeartbeat:
    """The reason why a heartbeat did not count.

    `counter` is that of the instance's row. `over`: the instance has ended for ever. `repeated`: it
    is the same heartbeat that counted last. `shared`: it proves that two processes have this
    instance id, which was not known before.
    """

    counter: int
    over: bool
    repeated: bool
    shared: bool


class LeaseStore(Protocol):
    """Store the heartbeats and releases of sidecars."""

    async def beat(self, heartbeats: Sequence[Heartbeat]) -> CommittedBeats:
        """Commit heartbeats, sorted and one an instance; then read the ledger's end.

        Both happen on the same server, and the end is read in a new snapshot after the commit
        returned (G1 before G2, design 7). Raises StoreUnavailableError if the server is a standby,
        or not the one that committed. Raises CommitUnknownError if the commit may be lost; then no
        lease may be granted.
        """
        ...

    async def refuse(self, heartbeats: Sequence[Heartbeat]) -> Sequence[RefusedHeartbeat | None]:
        """Return why each heartbeat did not count; end ids that two processes have, and commit.

        The reason is None for an instance that has no row and did not end before.
        """
        ...

    async def release(self, releases: Sequence[Release]) -> None:
        """Commit releases, sorted and one an instance; each is final for the ledger's epoch."""
        ...

    async def fleet(self) -> tuple[Instance, ...]:
        """List every known sidecar."""
        ...


@dataclass(frozen=True, slots=True)
class LeaseRow:
    """A waiter's view of a lease row. `version` grows with every heartbeat that counted.

    `nonce` is that of the last heartbeat, None if its sender is too old to repeat it. `shared`: two
    processes have this id, so neither acknowledges for the other; or the instance was evicted.
    `released_us` is the time of its release by Postgres's clock.
    """

    instance: bytes
    service: str
    posture: str
    version: int
    epoch: int | None
    acked_seq: int
    released: bool
    shared: bool = False
    nonce: bytes | None = None
    released_us: int | None = None


@dataclass(frozen=True, slots=True)
class WaitSnapshot:
    """A waiter's view of the database in one snapshot, taken after a COMMIT.

    `last_event` is the epoch and the seq of the last event of the requested revocation. It is None
    if the snapshot is older than the event, or if the ledger lost the event. `unknown_grace_ms` is
    the longest grace of a verifier that the rows may lack since a backup was restored, or None when
    no such verifier is in grace. `server` identifies one start of one server.
    """

    epoch: int
    seq: int
    wait_term_ms: int
    at_us: int
    rows: Mapping[bytes, LeaseRow]
    last_event: tuple[int, int] | None = None
    unknown_grace_ms: int | None = None
    server: int = 0


class Receipts(Protocol):
    """Store receipts, and read the state that is required before one is written."""

    async def waiting(self, revocation_id: str | None = None) -> WaitSnapshot:
        """Read the ledger's end, its term, every lease row and one revocation, in a new snapshot.

        Raises StoreUnavailableError if the server is a standby.
        """
        ...

    async def heads(self, seqs: Collection[int]) -> Mapping[int, tuple[int, bytes]]:
        """Read epoch and head of events."""
        ...

    async def entries_of(self, revocation_id: str) -> tuple[LedgerEntry, ...]:
        """Read the events that were committed under an id, in their order."""
        ...

    async def settle_epoch(self, epoch: int) -> None:
        """Store that no verifier unknown to this epoch is in grace any more."""
        ...

    async def delete_ended(self, versions: Mapping[bytes, int]) -> None:
        """Delete lease rows that still have these versions: their instances have ended."""
        ...

    async def keep(
        self,
        revocation_id: str,
        *,
        enforced_at_us: int,
        envelope: bytes,
        chunks: Sequence[bytes] = (),
    ) -> bytes | None:
        """Store a receipt with its details, and return the one that was stored first.

        Returns None if this server does not have the revocation. Raises CommitUnknownError.
        """
        ...

    async def details(self, revocation_id: str, numbers: range) -> tuple[bytes, ...]:
        """Read the existing chunks of a receipt's details, in their order."""
        ...

    async def get(self, revocation_id: str) -> bytes | None:
        """Read a receipt."""
        ...


@dataclass(frozen=True, slots=True)
class Term:
    """The current lease terms, the requested one, and the number of the last change.

    Leases are granted for `grant_ms`. Waiters count with `wait_ms`, which is never less.
    """

    grant_ms: int
    wait_ms: int
    target_ms: int
    version: int


class Terms(Protocol):
    """Store the lease terms."""

    async def get(self) -> Term:
        """Read the lease terms."""
        ...

    async def set_target(self, term_ms: int, *, actor: str) -> Term:
        """Store the requested term; nothing else changes yet."""
        ...

    async def move(self, version: int, *, grant_ms: int, wait_ms: int) -> bool:
        """Write other terms, unless a term changed since that version.

        Returns True if they were written.
        """
        ...
