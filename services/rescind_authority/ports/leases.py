"""Leases, who waits for them, receipts, and the term."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from rescind.wire.heartbeat import Heartbeat, Release
from rescind_authority.ports.ledger import LedgerEntry, LedgerTip


@dataclass(frozen=True, slots=True)
class Instance:
    """A sidecar as its lease row has it. Times are Unix microseconds of Postgres's clock.

    `credential` is the id of the token that it enrolled with, None if that is not known;
    `trust_serial` the number of the trust statement that it goes by, None if it does not tell.
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
    """Which heartbeats counted, and the ledger's end as it stood after their commit."""

    counted: frozenset[bytes]
    tip: LedgerTip


@dataclass(frozen=True, slots=True)
class RefusedHeartbeat:
    """Why a heartbeat did not count: its instance's row is at this counter, or `over` for ever.

    `repeated`: it is the very heartbeat that counted last. `shared`: it proves that two processes
    have this instance id, and that was not known before.
    """

    counter: int
    over: bool
    repeated: bool
    shared: bool


class LeaseStore(Protocol):
    """Keep what sidecars say of themselves."""

    async def beat(self, heartbeats: Sequence[Heartbeat]) -> CommittedBeats:
        """Commit heartbeats, sorted and one an instance; then read the ledger's end.

        Both happen on the same server, and the end is read in a new snapshot after the commit
        returned (G1 before G2, design 7). Raises StoreUnavailableError where the server is a
        standby, or another one than took the commit; OutcomeUnknownError where it is not known
        whether the commit will last. Then there may be no lease.
        """
        ...

    async def refuse(self, heartbeats: Sequence[Heartbeat]) -> Sequence[RefusedHeartbeat | None]:
        """Return why each of these did not count; end ids that two processes have, and commit that.

        None for one whose instance has no row, and did not end before.
        """
        ...

    async def release(self, releases: Sequence[Release]) -> None:
        """Commit releases, sorted and one an instance; each is final for the ledger's epoch."""
        ...

    async def fleet(self) -> tuple[Instance, ...]:
        """List every sidecar that is known."""
        ...


@dataclass(frozen=True, slots=True)
class LeaseRow:
    """A lease row as a waiter sees it. `version` grows with every heartbeat that counted.

    `nonce` is that of the last one, None if its sender is too old to name it again. `shared`: two
    processes have this id, so that neither speaks for the other; or it was evicted. `released_us`
    is when it was released, by Postgres's clock.
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
    """What one snapshot, taken after a COMMIT, says to a waiter.

    `held` is the epoch and the seq of the last event of the revocation that was asked for, where
    this snapshot has it. Without it the snapshot is older than the event, or the ledger lost it.
    `unknown_grace_ms` is the longest grace of a verifier that the rows may lack, since a backup was
    restored; None where no such verifier is in grace any more. `server` tells one server from
    another, and a server from itself before a restart.
    """

    epoch: int
    seq: int
    wait_term_ms: int
    at_us: int
    rows: Mapping[bytes, LeaseRow]
    held: tuple[int, int] | None = None
    unknown_grace_ms: int | None = None
    server: int = 0


class Receipts(Protocol):
    """Keep receipts, and read what has to be seen before one may be written."""

    async def waiting(self, revocation_id: str | None = None) -> WaitSnapshot:
        """Read the ledger's end, its term, every lease row and one revocation, in a new snapshot.

        Raises StoreUnavailableError where the server is a standby.
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

    async def sweep(self, versions: Mapping[bytes, int]) -> None:
        """Delete lease rows that still are at these versions: their instances are over."""
        ...

    async def keep(
        self,
        revocation_id: str,
        *,
        enforced_at_us: int,
        envelope: bytes,
        chunks: Sequence[bytes] = (),
    ) -> bytes | None:
        """Keep a receipt with its details, and return the one that was kept first.

        None where this server does not hold the revocation. Raises OutcomeUnknownError.
        """
        ...

    async def details(self, revocation_id: str, numbers: range) -> tuple[bytes, ...]:
        """Read chunks of a receipt's details, in their order; those that are there."""
        ...

    async def get(self, revocation_id: str) -> bytes | None:
        """Read a receipt."""
        ...


@dataclass(frozen=True, slots=True)
class Term:
    """The lease terms as they are, the one that was asked for, and the number of the last change.

    `grant_ms` is what leases are granted for, `wait_ms` what waiters take them to last: never less.
    """

    grant_ms: int
    wait_ms: int
    target_ms: int
    version: int


class Terms(Protocol):
    """Keep the lease terms."""

    async def get(self) -> Term:
        """Read them."""
        ...

    async def ask(self, term_ms: int, *, actor: str) -> Term:
        """Note which term is wanted; nothing else changes yet."""
        ...

    async def move(self, version: int, *, grant_ms: int, wait_ms: int) -> bool:
        """Write other terms, unless a term changed since that version.

        Returns True if they were written.
        """
        ...
