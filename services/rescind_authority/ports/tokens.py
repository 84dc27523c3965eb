"""Tokens as they are stored and read, each with what may hold it."""

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
    """A token to be stored, but for what its footing says.

    `issued_by` is what the audit calls the actor that issued it.
    """

    token_hash: bytes
    grant: TokenGrant
    issued_by: str | None = None
    sidecars: Binding = _UNBOUND
    possession_hash: bytes | None = None


@dataclass(frozen=True, slots=True)
class IssueTimes:
    """As of when a token is stored. Times are Unix microseconds of Postgres's clock."""

    issued_at_us: int
    issued_seq: int
    expires_at_us: int


@dataclass(frozen=True, slots=True)
class Retired:
    """A secret that its token has no more: good until then, and what its use after that means.

    `possession_hash` is the SHA-256 of `tokens.possession`, by which its holder is recognised; None
    for a secret from before that was stored, whose holder cannot be recognised.
    """

    at_us: int
    good_until_us: int
    revokes: bool
    possession_hash: bytes | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """The event that ended a token, or a retired secret, for good.

    `seq` is 0 and `revocation_id` empty where that was before positions were kept.
    """

    seq: int
    revocation_id: str


@dataclass(frozen=True, slots=True)
class StoredToken:
    """A token as the table has it. Times are Unix microseconds of Postgres's clock."""

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
    """A revocation that may concern a token; `core.revocation.hits` decides.

    `since_us` is when the first of the token's ancestors, or itself, was issued with all that is
    selected: a cutoff that ends an ancestor ends what was delegated from it, however young.
    """

    event: Event
    since_us: int


@dataclass(frozen=True, slots=True)
class TokenState:
    """A token with at least every revocation that concerns it, all from one snapshot."""

    token: StoredToken
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one statement saw: tokens and their revocations as of one ledger position."""

    epoch: int
    as_of: int
    at_us: int
    tokens: tuple[TokenState, ...]


@dataclass(frozen=True, slots=True)
class IssuanceSnapshot:
    """Hold what a new token stands on, from one snapshot.

    `as_of` becomes the token's issued_seq. `parent` is None if the token has no parent, or if its
    parent is not in the table. `candidates` hold at least the revocations that would hold the new
    token.
    """

    snapshot: Snapshot
    parent: TokenState | None
    candidates: tuple[Candidate, ...]


class TokenRecords(Protocol):
    """Read tokens together with what may hold them."""

    async def by_hash(self, hashes: Collection[bytes]) -> Snapshot:
        """Read tokens by their SHA-256, in one statement."""
        ...

    async def by_id(self, token_ids: Collection[str]) -> Snapshot:
        """Read tokens by their public names, in one statement."""
        ...


class EndReason(StrEnum):
    """Why the end of a session was moved by itself."""

    IDLE = "idle"
    SURPLUS = "surplus"


@dataclass(frozen=True, slots=True)
class ScheduledEnd:
    """What will end by an event in so many microseconds of the ledger's time.

    A token, or the retired secret of it that has this hash. `reason` is None where a command said
    when.
    """

    token_id: str
    token_hash: bytes | None
    left_us: int
    reason: EndReason | None = None


class Ends(Protocol):
    """Find what is to end."""

    async def pending(self, *, limit: int) -> tuple[ScheduledEnd, ...]:
        """List the tokens and retired secrets that an event will end, the first to end first."""
        ...

    async def end_idle(self, *, delay_us: int, limit: int) -> int:
        """End idle sessions now, of at most so many. Return how many were looked at.

        A use is known at most `delay_us` late.
        """
        ...


class SharedRecordWriter(Protocol):
    """Records that sidecars may read before they ask an authority."""

    def keep(self, record: Record, encoded: bytes, *, now_us: int) -> None:
        """Leave a record there until it is old or over. Never waits and never fails."""
        ...
