"""Tokens as they are stored and read, each with the revocations that may apply to it."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from rescind.core.record import Record
from rescind.core.revocation import Event
from rescind_authority.ports.enrolments import Binding
from rescind_authority.ports.token_grant import TokenGrant

_UNBOUND = Binding()


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token to be stored, without the values that its issuance snapshot supplies.

    `issued_by` is the audit's name for the actor that issued it.
    """

    token_hash: bytes
    grant: TokenGrant
    issued_by: str | None = None
    sidecars: Binding = _UNBOUND
    possession_hash: bytes | None = None


@dataclass(frozen=True, slots=True)
class IssueTimes:
    """The times and the seq of an issue. Times are Unix microseconds of Postgres's clock."""

    issued_at_us: int
    issued_seq: int
    expires_at_us: int


@dataclass(frozen=True, slots=True)
class Retired:
    """A rotated secret: its end, and whether its use after that revokes the token.

    `possession_hash` is the SHA-256 of `token_format.possession`, which identifies its holder. None
    means a secret from before the hash was stored, whose holder cannot be identified.
    """

    at_us: int
    good_until_us: int
    revokes: bool
    possession_hash: bytes | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """The event that ended a token, or a retired secret, for good.

    `seq` is 0 and `revocation_id` empty if that was before positions were stored.
    """

    seq: int
    revocation_id: str


@dataclass(frozen=True, slots=True)
class StoredToken:
    """A token in the table. Times are Unix microseconds of Postgres's clock."""

    token_hash: bytes
    grant: TokenGrant
    issued_at_us: int
    issued_seq: int
    expires_at_us: int
    last_used_at_us: int | None
    retired: Retired | None = None
    ended: Ended | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A revocation that may apply to a token; `core.revocation.hits` decides.

    `since_us` is the earliest time at which an ancestor or the token itself was issued with all
    selected handles: a cutoff that ends an ancestor ends its descendants, however young.
    """

    event: Event
    since_us: int


@dataclass(frozen=True, slots=True)
class TokenState:
    """A token with at least every revocation that applies to it, all from one snapshot."""

    token: StoredToken
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The result of one statement: tokens and their revocations as of one ledger position."""

    epoch: int
    as_of: int
    at_us: int
    tokens: tuple[TokenState, ...]


@dataclass(frozen=True, slots=True)
class IssuanceSnapshot:
    """The basis of the decision on a new token, from one snapshot.

    `as_of` becomes the token's issued_seq. `parent` is None if the token has no parent, or if its
    parent is not in the table. `candidates` contains at least the revocations that would apply to
    the new token.
    """

    snapshot: Snapshot
    parent: TokenState | None
    candidates: tuple[Candidate, ...]


class TokenRecords(Protocol):
    """Read tokens with the revocations that may apply to them."""

    async def by_hash(self, hashes: Collection[bytes]) -> Snapshot:
        """Read tokens by their SHA-256, in one statement."""
        ...

    async def by_id(self, token_ids: Collection[str]) -> Snapshot:
        """Read tokens by their token ids, in one statement."""
        ...


class EndReason(StrEnum):
    """The reason why the end of a session was moved without a command."""

    IDLE = "idle"
    SURPLUS = "surplus"


@dataclass(frozen=True, slots=True)
class ScheduledEnd:
    """A token, or its retired secret with this hash, that an event will end.

    The end is due in `left_us` microseconds of the ledger's time. `reason` is None if a command set
    the time.
    """

    token_id: str
    token_hash: bytes | None
    left_us: int
    reason: EndReason | None = None


class Ends(Protocol):
    """Find the tokens and secrets that are to end."""

    async def pending(self, *, limit: int) -> tuple[ScheduledEnd, ...]:
        """List the tokens and retired secrets that an event will end, the first to end first."""
        ...

    async def end_idle(self, *, delay_us: int, limit: int) -> int:
        """End idle sessions now, among at most `limit`. Return how many were examined.

        A use is known after at most `delay_us`.
        """
        ...


class SharedRecordWriter(Protocol):
    """Share records that sidecars may read before they ask an authority."""

    def keep(self, record: Record, encoded: bytes, *, now_us: int) -> None:
        """Store a record until it is old or has ended. Never waits and never fails."""
        ...
