"""What the use cases ask of the world around them; the driven adapters answer.

Every verb raises StoreUnavailableError (or one of its kind) when Postgres cannot answer.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from rescind.core.conditions import UNCONDITIONAL, Conditions
from rescind.core.delegation import Mandate
from rescind.core.handles import Handle
from rescind.core.ledger import Position
from rescind.core.record import Record
from rescind.core.revocation import Event
from rescind.core.tokens import Kind
from rescind.wire.events import Batch
from rescind.wire.heartbeat import Heartbeat, Release, Wanted
from rescind.wire.sealed import Sealed
from rescind.wire.trust import Purpose


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """An idempotency key, which belongs to its actor."""

    actor: str
    key: str


@dataclass(frozen=True, slots=True)
class Claim:
    """A wish to be the first to use a key, for a request with this SHA-256."""

    key: Key
    body_hash: bytes


@dataclass(frozen=True, slots=True)
class Claimed:
    """Who came first under a key: `answer` is None when it was this very claim."""

    body_hash: bytes
    answer: str | None


@dataclass(frozen=True, slots=True)
class Standing:
    """The ledger's end as one snapshot shows it. `at_us` is Postgres's clock (Unix µs)."""

    position: Position
    grant_term_ms: int
    at_us: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One event as the ledger stores it: its bytes, and the head after them."""

    event: Event
    payload: bytes
    head: bytes


@dataclass(frozen=True, slots=True)
class Device:
    """Where a token began, as its issuer told: shown to its owner, and in no record."""

    user_agent: str | None = None
    address: str | None = None


_NO_DEVICE = Device()


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token to be stored, but for what its footing says."""

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
class Passage:
    """Events in order: the first one is `first_seq`. `epoch` and `last` are the ledger's own."""

    epoch: int
    last: int
    first_seq: int
    payloads: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Instance:
    """A sidecar as its lease row has it. Times are Unix microseconds of Postgres's clock."""

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


@dataclass(frozen=True, slots=True)
class Rotation:
    """A new secret for a token, in place of the one with this hash (None: whichever it has)."""

    token_id: str
    replaces: bytes | None
    token_hash: bytes
    overlap_us: int
    reuse_revokes: bool


@dataclass(frozen=True, slots=True)
class Expiry:
    """An earlier end for a token, in Unix microseconds; None: now."""

    token_id: str
    at_us: int | None


Change = Rotation | Expiry


class LedgerTransaction(Protocol):
    """One transaction of the sequencer; leaving its block without an error commits it."""

    async def change(self, change: Change) -> bool:
        """Change a token that is live and as the change expects it; else do nothing, and say so."""
        ...

    async def claim(self, claims: Sequence[Claim]) -> Mapping[Key, Claimed]:
        """Take the keys in the order given, waiting for whoever holds one."""
        ...

    async def lock_head(self) -> Standing:
        """Take the head row's lock, and read it and the clock under it."""
        ...

    async def append(
        self, entries: Sequence[Entry], *, exact: Collection[str], head: Position
    ) -> None:
        """Write events, revocations, audit entries and the new head. `exact` names revocations."""
        ...

    async def answer(self, answers: Mapping[Key, str]) -> None:
        """Keep what each key is to answer when it comes again."""
        ...

    async def footing(self, parent_hash: bytes | None, handles: Collection[Handle]) -> Footing:
        """Read what a token with these handles, and those it inherits, would stand on."""
        ...

    async def insert_token(self, token: NewToken, issued: Issued) -> None:
        """Store a token and its audit entry."""
        ...


class Transactions(Protocol):
    """Begin transactions that write."""

    def begin(self) -> AbstractAsyncContextManager[LedgerTransaction]:
        """Open one. Raises OutcomeUnknownError when the connection dies during COMMIT."""
        ...


class Ledger(Protocol):
    """Read the ledger."""

    async def standing(self) -> Standing:
        """Read the ledger's end in a new snapshot, on a server that is not in recovery."""
        ...

    async def after(self, seq: int, *, limit: int) -> Passage:
        """Read the events after a position."""
        ...


class Records(Protocol):
    """Read tokens together with what may hold them."""

    async def by_hash(self, hashes: Collection[bytes]) -> Snapshot:
        """Read tokens by their SHA-256, in one statement."""
        ...

    async def by_id(self, token_ids: Collection[str]) -> Snapshot:
        """Read tokens by their public names, in one statement."""
        ...


@dataclass(frozen=True, slots=True)
class TokenFilter:
    """Which tokens to list: those with all of these handles, in this state, issued in that time.

    A time begins at `issued_after_us` and ends before `issued_before_us` (Unix µs).
    """

    handles: tuple[Handle, ...] = ()
    state: str | None = None
    issued_after_us: int | None = None
    issued_before_us: int | None = None


@dataclass(frozen=True, slots=True)
class Along:
    """A way through the tokens in the order of their ids: the index, and the place in it."""

    index: str
    name: str


@dataclass(frozen=True, slots=True)
class Walked:
    """What was found on so many steps, and the last token gone past: None at the way's end."""

    token_ids: tuple[str, ...]
    last: str | None


@dataclass(frozen=True, slots=True)
class Stamps:
    """What the sweep's stamps tell: `complete`, they are on all that is revoked.

    `suspending`: something may be suspended. `tokens`: about how many are stamped.
    """

    complete: bool
    suspending: bool
    tokens: int


@dataclass(frozen=True, slots=True)
class Sample:
    """Some tokens at random: how many have the handles, the rest of what is asked for, and both."""

    looked_at: int
    having: int
    alike: int
    wanted: int


@dataclass(frozen=True, slots=True)
class Radius:
    """What a selector hits of what has not ended.

    Not `exact`, `tokens` is the planner's estimate, and the rest was counted among the first ones:
    lower bounds. `used` and `services` are of the last day.
    """

    tokens: int
    exact: bool
    subjects: int
    delegated: int
    used: int
    services: tuple[str, ...]


class Tokens(Protocol):
    """Look through the token table."""

    async def radius(
        self, handles: Collection[Handle], *, issued_before_us: int | None, most: int
    ) -> Radius:
        """Count what a selector hits, exactly up to a bound."""
        ...

    async def walk(
        self, wanted: TokenFilter, along: Along, *, before: str, after: str, steps: int, most: int
    ) -> Walked:
        """Go past so many tokens, newest first, and name those wanted, unless they are more."""
        ...

    async def few(
        self, wanted: TokenFilter, *, before: str, most: int, bound: int
    ) -> tuple[str, ...] | None:
        """Name the tokens wanted, newest first; None if more than a bound have the handles."""
        ...

    async def count_along(self, along: Along, *, most: int) -> int:
        """Count the tokens along a way, up to a bound."""
        ...

    async def estimate(self, handles: Collection[Handle]) -> int:
        """Say how many tokens may have all of these handles, without looking."""
        ...

    async def stamps(self) -> Stamps:
        """Say what the stamps tell."""
        ...

    async def sample(self, wanted: TokenFilter, *, size: int) -> Sample:
        """Look at about so many tokens at random."""
        ...

    async def children(
        self, parents: Collection[str], *, most: int, after: str | None = None
    ) -> Mapping[str, tuple[str, ...]]:
        """List the children of each parent, oldest first; who has none is left out."""
        ...

    async def count(self, handles: Collection[Handle], *, most: int) -> int:
        """Count the tokens that have all of these handles, up to a bound."""
        ...

    async def any_admin(self, handles: Collection[Handle]) -> bool:
        """Say whether some unexpired admin token has all of these handles."""
        ...

    async def mark_used(self, uses: Collection[tuple[str, bytes]]) -> None:
        """Note that tokens (by id) were used just now, each by an instance of some service.

        Unknown ids are nobody's, and change nothing.
        """
        ...


@dataclass(frozen=True, slots=True)
class Backlog:
    """How far the sweep has come in the ledger, and how many revokes wait for it."""

    swept: int
    head: int
    waiting: int


@dataclass(frozen=True, slots=True)
class Place:
    """Every revoke up to `seq` is stamped, and of the next one what is not below `before`."""

    seq: int
    before: str | None


@dataclass(frozen=True, slots=True)
class Revoke:
    """A revoke to be stamped: the tokens with all of these handles, of which it hits some."""

    seq: int
    handles: tuple[Handle, ...]


class Turn(Protocol):
    """One transaction of the sweep; leaving its block without an error commits it."""

    @property
    def place(self) -> Place:
        """How far the sweep had come when this began."""
        ...

    async def following(self, *, up_to: int, most: int) -> tuple[Revoke, ...]:
        """List the revokes that come next, in their order."""
        ...

    async def stamp(self, seq: int, token_ids: Collection[str]) -> int:
        """Stamp those of the tokens that a revoke hits, and count those that none did before."""
        ...

    async def note(self, place: Place) -> None:
        """Remember how far the sweep has come."""
        ...


class Sweeps(Protocol):
    """Stamp what revokes ended, one process at a time."""

    async def backlog(self) -> Backlog:
        """Read what is left to do."""
        ...

    async def fence(self) -> int:
        """Give a number above those of all transactions that have written by now."""
        ...

    async def passed(self, fence: int) -> bool:
        """Say whether all transactions below a fence have ended."""
        ...

    def turn(self) -> AbstractAsyncContextManager[Turn | None]:
        """Begin one, or give None while somebody else sweeps."""
        ...

    async def forget_keys(self, *, older_than_s: int, but: Collection[str], most: int) -> int:
        """Delete idempotency keys first used so long ago, but no actor named; say how many."""
        ...


class SharedRecords(Protocol):
    """Records that sidecars may read before they ask an authority."""

    def keep(self, record: Record, encoded: bytes, *, now_us: int) -> None:
        """Leave a record there until it is old or over. Never waits and never fails."""
        ...


class Revocations(Protocol):
    """Look through the revocations."""

    async def get(self, revocation_id: str) -> StoredRevocation | None:
        """Read one."""
        ...

    async def page(self, *, before_seq: int | None, limit: int) -> tuple[StoredRevocation, ...]:
        """List them, newest first."""
        ...

    async def timed(self, *, limit: int) -> tuple[Timed, ...]:
        """List the standing ones that end by themselves, in the order of their ends."""
        ...


class Leases(Protocol):
    """Keep what sidecars say of themselves."""

    async def beat(self, heartbeats: Sequence[Heartbeat]) -> frozenset[bytes]:
        """Commit heartbeats, sorted and one an instance; name those that counted."""
        ...

    async def release(self, releases: Sequence[Release]) -> None:
        """Commit releases, sorted and one an instance; each is final."""
        ...

    async def fleet(self) -> tuple[Instance, ...]:
        """List every sidecar that is known."""
        ...


@dataclass(frozen=True, slots=True)
class LeaseRow:
    """A lease row as a waiter sees it. `version` grows with every heartbeat that counted."""

    instance: bytes
    service: str
    posture: str
    version: int
    epoch: int | None
    acked_seq: int
    released: bool


@dataclass(frozen=True, slots=True)
class Waiting:
    """What one snapshot, taken after a COMMIT, says to who waits for it."""

    epoch: int
    seq: int
    wait_term_ms: int
    at_us: int
    rows: Mapping[bytes, LeaseRow]


class Receipts(Protocol):
    """Keep receipts, and read what has to be seen before one may be written."""

    async def waiting(self) -> Waiting:
        """Read the ledger's end, its term and every lease row, in a new snapshot."""
        ...

    async def heads(self, seqs: Collection[int]) -> Mapping[int, tuple[int, bytes]]:
        """Read epoch and head of events."""
        ...

    async def sweep(self, versions: Mapping[bytes, int]) -> None:
        """Delete lease rows that still are at these versions."""
        ...

    async def keep(
        self, revocation_id: str, *, enforced_at_us: int, envelope: bytes
    ) -> bytes | None:
        """Keep a receipt, and give the one that was kept first.

        None where the revocation is not in the ledger any more: a restore lost it.
        """
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
        """Write other terms, unless somebody changed anything since that version."""
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


class Announcer(Protocol):
    """Tell everybody who listens what was committed."""

    def announce(self, batch: Batch) -> None:
        """Send a batch on its way. Never waits and never fails: heartbeats repair what is lost."""
        ...


class Caller(Protocol):
    """Ask the fleet."""

    def call(self, wanted: Wanted) -> None:
        """Ask every sidecar to acknowledge a position. Never waits and never fails."""
        ...


class Keys(Protocol):
    """Sign, seal and open with this installation's keys."""

    @property
    def statement(self) -> bytes:
        """The trust statement, signed by the root key."""
        ...

    @property
    def serial(self) -> int:
        """The number of the statement; it only grows."""
        ...

    def sign(self, purpose: Purpose, content: bytes) -> Sealed:
        """Sign content for one purpose."""
        ...

    def verify(self, purpose: Purpose, signed: Sealed) -> bool:
        """Say whether one of this installation's keys signed this content."""
        ...

    def open(self, box: bytes) -> bytes | None:
        """Open a box that was sealed to this installation, or say None."""
        ...

    def seal_to(self, public: bytes, content: bytes) -> bytes:
        """Seal content to somebody's public key."""
        ...


class EdgeKeys(Protocol):
    """The keys that tag tokens."""

    @property
    def live(self) -> tuple[bytes, ...]:
        """Those that vouch for a token, newest first."""
        ...

    @property
    def minting(self) -> bytes:
        """The one that tags new tokens."""
        ...


class Entropy(Protocol):
    """Roll dice."""

    def __call__(self, length: int, /) -> bytes:
        """Return random bytes fit for a secret."""
        ...
