"""Tokens as they are stored and read, each with what may hold it."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from rescind.core.conditions import UNCONDITIONAL, Conditions
from rescind.core.delegation import Mandate
from rescind.core.handles import Handle
from rescind.core.record import Record
from rescind.core.revocation import Event
from rescind.core.tokens import Kind
from rescind_authority.ports.enrolments import Binding


@dataclass(frozen=True, slots=True)
class Device:
    """Where a token began, as its issuer told: shown to its owner, and in no record."""

    user_agent: str | None = None
    address: str | None = None


_NO_DEVICE = Device()
_UNBOUND = Binding()


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token to be stored, but for what its footing says.

    `created_by` is the subject that issued it, `issued_by` what the audit calls that actor.
    """

    token_hash: bytes
    token_id: str
    kind: Kind
    subject: str
    scopes: tuple[str, ...]
    audience: tuple[str, ...]
    tenant: str | None
    client: str | None
    session: str | None
    labels: tuple[tuple[str, str], ...]
    handles: tuple[Handle, ...]
    lineage: tuple[str, ...]
    chain: tuple[str, ...]
    not_before_us: int | None
    mandate: Mandate
    created_by: str
    device: Device = _NO_DEVICE
    conditions: Conditions = UNCONDITIONAL
    issued_by: str | None = None
    sidecars: Binding = _UNBOUND


@dataclass(frozen=True, slots=True)
class Issued:
    """As of when a token is stored. Times are Unix microseconds of Postgres's clock."""

    issued_at_us: int
    issued_seq: int
    expires_at_us: int


@dataclass(frozen=True, slots=True)
class Retired:
    """A secret that its token has no more: good until then, and what its use after that means."""

    at_us: int
    good_until_us: int
    revokes: bool


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
    token_id: str
    kind: Kind
    subject: str
    scopes: tuple[str, ...]
    audience: tuple[str, ...]
    tenant: str | None
    client: str | None
    session: str | None
    labels: tuple[tuple[str, str], ...]
    lineage: tuple[str, ...]
    chain: tuple[str, ...]
    handles: tuple[Handle, ...]
    issued_at_us: int
    issued_seq: int
    not_before_us: int | None
    expires_at_us: int
    last_used_at_us: int | None
    created_by: str
    mandate: Mandate
    device: Device = _NO_DEVICE
    conditions: Conditions = UNCONDITIONAL
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
class Footing:
    """What a new token stands on, from one snapshot; `as_of` becomes its issued_seq.

    `parent` is None for nobody's child, and for a parent that is not in the table. `candidates`
    hold at least the revocations that would hold the new token.
    """

    snapshot: Snapshot
    parent: TokenState | None
    candidates: tuple[Candidate, ...]


class Records(Protocol):
    """Read tokens together with what may hold them."""

    async def by_hash(self, hashes: Collection[bytes]) -> Snapshot:
        """Read tokens by their SHA-256, in one statement."""
        ...

    async def by_id(self, token_ids: Collection[str]) -> Snapshot:
        """Read tokens by their public names, in one statement."""
        ...


@dataclass(frozen=True, slots=True)
class Pending:
    """What will end by an event in so many microseconds of the ledger's time.

    A token, or the retired secret of it that has this hash.
    """

    token_id: str
    token_hash: bytes | None
    left_us: int


class Ends(Protocol):
    """Find what is to end."""

    async def pending(self, *, limit: int) -> tuple[Pending, ...]:
        """List the tokens and retired secrets that an event will end, the first to end first."""
        ...


class SharedRecords(Protocol):
    """Records that sidecars may read before they ask an authority."""

    def keep(self, record: Record, encoded: bytes, *, now_us: int) -> None:
        """Leave a record there until it is old or over. Never waits and never fails."""
        ...
