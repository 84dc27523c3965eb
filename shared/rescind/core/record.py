"""Everything that a verifier needs to know of a token, as of a position in the ledger."""

from collections.abc import Collection
from dataclasses import dataclass

from rescind.core.handles import Handle
from rescind.core.revocation import Effect, Hold
from rescind.core.scopes import covers, meets
from rescind.core.tokens import Kind

MAX_SCOPES = 64
MAX_LABELS = 32
MAX_LINEAGE = 16


@dataclass(frozen=True, slots=True)
class Record:
    """The facts of a token and its state, both read in one snapshot at `as_of`.

    Times are Unix microseconds of the authority's clock (Postgres's). `scopes` are the patterns
    granted, and `removed` those that narrows took away since, sorted. An empty `audience` means
    that every service may accept it. `lineage` and `chain` are the token ids and subjects from the
    root down to the parent.
    """

    token_hash: bytes
    epoch: int
    as_of: int
    token_id: str
    kind: Kind
    subject: str
    scopes: frozenset[str]
    audience: frozenset[str]
    issued_at_us: int
    issued_seq: int
    not_before_us: int
    expires_at_us: int
    handles: tuple[Handle, ...]
    holds: tuple[Hold, ...] = ()
    tenant: str | None = None
    client: str | None = None
    session: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    lineage: tuple[str, ...] = ()
    chain: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    @property
    def expires_at(self) -> float:
        """When it ends, in Unix seconds."""
        return self.expires_at_us / 1_000_000

    def grants(self, require: Collection[str]) -> bool:
        """Say whether every scope asked for was granted, and no part of it was taken away.

        A pattern that is asked for must be granted as a whole.
        """
        if not self.removed and self.scopes.issuperset(require):
            return True
        return all(
            covers(self.scopes, wanted) and not meets(self.removed, wanted) for wanted in require
        )

    @property
    def live(self) -> bool:
        """Whether no hold applies that denies it. A hold of an unknown effect denies."""
        return all(hold.effect == Effect.NARROW for hold in self.holds)
