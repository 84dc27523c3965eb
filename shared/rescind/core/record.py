"""The record: everything that a verifier needs of a token, as of a position in the ledger."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from rescind.core.conditions import UNCONDITIONAL, Conditions
from rescind.core.handles import Handle
from rescind.core.revocation import Effect, Restriction
from rescind.core.scopes import Matcher, remaining
from rescind.core.token_format import Kind

MAX_SCOPES = 64
MAX_LABELS = 32
MAX_LINEAGE = 16
MAX_NAMES_BYTES = 8_192
"""The limit of one token's handles, labels, lineage and chain in UTF-8: verifiers keep them."""


def names_bytes(
    handles: Iterable[str],
    labels: Iterable[tuple[str, str]],
    lineage: Iterable[str],
    chain: Iterable[str],
) -> int:
    """Return the size of a token's names in UTF-8 bytes; the limit is `MAX_NAMES_BYTES`."""
    texts = (*handles, *lineage, *chain, *(text for label in labels for text in label))
    return sum(len(text.encode()) for text in texts)


@dataclass(frozen=True, slots=True)
class Record:
    """The facts of a token and its state, both read in one snapshot at `as_of`.

    Times are Unix microseconds of the authority's clock (Postgres's). `granted` are the scopes and
    patterns with which the token was issued, and `removed` those that narrowings removed, sorted.
    `scopes` are the granted ones of which no part was removed. An empty `audience` means that every
    service may accept the token. `lineage` and `chain` are the token ids and subjects from the root
    down to the parent.
    """

    token_hash: bytes
    epoch: int
    as_of: int
    token_id: str
    kind: Kind
    subject: str
    granted: frozenset[str]
    audience: frozenset[str]
    issued_at_us: int
    issued_seq: int
    not_before_us: int
    expires_at_us: int
    handles: tuple[Handle, ...]
    restrictions: tuple[Restriction, ...] = ()
    tenant: str | None = None
    client: str | None = None
    session: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    lineage: tuple[str, ...] = ()
    chain: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    conditions: Conditions = UNCONDITIONAL
    scopes: frozenset[str] = field(init=False, compare=False)
    _matchers: tuple[Matcher, Matcher | None] | None = field(
        default=None, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        """Compute `scopes` once, and not in each check."""
        scopes = remaining(self.granted, self.removed) if self.removed else self.granted
        object.__setattr__(self, "scopes", scopes)

    @property
    def expires_at(self) -> float:
        """Return the end of the token, in Unix seconds."""
        return self.expires_at_us / 1_000_000

    def grants(self, require: Collection[str]) -> bool:
        """Return True if every required scope was granted, and no part of it was removed.

        A required pattern must be granted as a whole.
        """
        return self.scopes.issuperset(require) or self.matches(require)

    def matches(self, require: Collection[str]) -> bool:
        """Return the result of `grants` for scopes that are not all in `scopes` by name."""
        granted, removed = self._matchers or self._match()
        names, prefixes = granted.patterns, granted.prefixes
        for scope in require:
            # As `granted.covers`, without the call, which would take as long as the rest.
            if not scope.startswith(prefixes) and scope not in names:
                return False
        return removed is None or not any(removed.meets(scope) for scope in require)

    def _match(self) -> tuple[Matcher, Matcher | None]:
        # Created at the first use: most records never need it.
        matchers = Matcher(self.granted), Matcher(self.removed) if self.removed else None
        object.__setattr__(self, "_matchers", matchers)
        return matchers

    @property
    def live(self) -> bool:
        """Return True if no restriction denies the token. One with an unknown effect denies it."""
        return all(each.effect == Effect.NARROW for each in self.restrictions)
