"""Lists and counts of tokens, in bounded time."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from rescind.core.handles import Handle


@dataclass(frozen=True, slots=True)
class Use:
    """A use of a token at a sidecar, and its time (Unix µs of Postgres's clock)."""

    token_id: str
    instance: bytes
    at_us: int


@dataclass(frozen=True, slots=True)
class TokenFilter:
    """A filter for tokens with all of these handles, in this state, issued in this period.

    The period begins at `issued_after_us` and ends before `issued_before_us` (Unix µs).
    """

    handles: tuple[Handle, ...] = ()
    state: str | None = None
    issued_after_us: int | None = None
    issued_before_us: int | None = None


@dataclass(frozen=True, slots=True)
class ScanIndex:
    """An index scan of tokens in the order of their ids: the index, and the place in it."""

    index: str
    name: str


@dataclass(frozen=True, slots=True)
class ScanPage:
    """The tokens found in one part of a scan, and the last token passed; None at the end."""

    token_ids: tuple[str, ...]
    last: str | None


@dataclass(frozen=True, slots=True)
class RevokedMarks:
    """The state of the revoked marks. `complete`: every revoked token has one.

    `suspending`: a token may be suspended. `tokens`: about how many tokens have a mark.
    """

    complete: bool
    suspending: bool
    tokens: int


@dataclass(frozen=True, slots=True)
class Sample:
    """A random sample: how many tokens have the handles, match the other filters, and both."""

    looked_at: int
    having: int
    alike: int
    wanted: int


@dataclass(frozen=True, slots=True)
class BlastRadius:
    """The reach of a selector among tokens that have not ended, and the credentials it spares.

    Unless `exact`, `tokens` is the planner's estimate, and the other counts are lower bounds,
    counted among the first tokens. `used` and `services` cover the last day.
    """

    tokens: int
    exact: bool
    subjects: int
    delegated: int
    used: int
    services: tuple[str, ...]
    spared_credentials: int = 0


class Tokens(Protocol):
    """Search the token table."""

    async def radius(
        self,
        handles: Collection[Handle],
        *,
        issued_before_us: int | None,
        most: int,
        seq: int | None = None,
    ) -> BlastRadius:
        """Count the tokens that a selector hits now, or hit at `seq`; exact up to `most`."""
        ...

    async def walk(
        self,
        token_filter: TokenFilter,
        along: ScanIndex,
        *,
        before: str,
        after: str,
        steps: int,
        most: int,
    ) -> ScanPage:
        """Scan up to `steps` tokens, newest first; return the ids of up to `most` that match."""
        ...

    async def few(
        self, token_filter: TokenFilter, *, before: str, most: int, bound: int
    ) -> tuple[str, ...] | None:
        """Return the ids that match, newest first; None if more than `bound` have the handles."""
        ...

    async def count_along(self, along: ScanIndex, *, most: int) -> int:
        """Count the tokens of a scan, up to `most`."""
        ...

    async def estimate(self, handles: Collection[Handle]) -> int:
        """Estimate how many tokens have all of these handles.

        Reads no token.
        """
        ...

    async def revoked_marks(self) -> RevokedMarks:
        """Read the state of the revoked marks."""
        ...

    async def sample(self, token_filter: TokenFilter, *, size: int) -> Sample:
        """Read about `size` tokens at random, and count those that match."""
        ...

    async def children(
        self, parents: Collection[str], *, most: int, after: str | None = None
    ) -> Mapping[str, tuple[str, ...]]:
        """List the children of each parent, oldest first; parents without children are left out."""
        ...

    async def count(self, handles: Collection[Handle], *, most: int) -> int:
        """Count the tokens that have all of these handles, up to a bound."""
        ...

    async def any_admin(self, handles: Collection[Handle]) -> bool:
        """Return True if an unexpired admin token has all of these handles."""
        ...

    async def mark_used(self, uses: Collection[Use]) -> None:
        """Record when tokens were used, each by an instance of a service.

        A recorded time is never in the future. An unknown id changes nothing.
        """
        ...
