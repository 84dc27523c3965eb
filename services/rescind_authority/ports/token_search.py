"""Lists and counts of tokens, in bounded time."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from rescind.core.handles import Handle


@dataclass(frozen=True, slots=True)
class Use:
    """A token that a sidecar saw in use, and when (Unix µs of Postgres's clock)."""

    token_id: str
    instance: bytes
    at_us: int


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
class ScanIndex:
    """A way through the tokens in the order of their ids: the index, and the place in it."""

    index: str
    name: str


@dataclass(frozen=True, slots=True)
class ScanPage:
    """What was found on so many steps, and the last token gone past: None at the way's end."""

    token_ids: tuple[str, ...]
    last: str | None


@dataclass(frozen=True, slots=True)
class RevokedMarks:
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
class BlastRadius:
    """What a selector hits of what has not ended, and the sidecars' credentials that it spares.

    Not `exact`, `tokens` is the planner's estimate, and the rest was counted among the first ones:
    lower bounds. `used` and `services` are of the last day.
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
        """Count what a selector hits now, or hit as the event at a seq; exactly up to a bound."""
        ...

    async def walk(
        self,
        wanted: TokenFilter,
        along: ScanIndex,
        *,
        before: str,
        after: str,
        steps: int,
        most: int,
    ) -> ScanPage:
        """Go past so many tokens, newest first, and name those wanted, unless they are more."""
        ...

    async def few(
        self, wanted: TokenFilter, *, before: str, most: int, bound: int
    ) -> tuple[str, ...] | None:
        """Name the tokens wanted, newest first; None if more than a bound have the handles."""
        ...

    async def count_along(self, along: ScanIndex, *, most: int) -> int:
        """Count the tokens along a way, up to a bound."""
        ...

    async def estimate(self, handles: Collection[Handle]) -> int:
        """Estimate how many tokens have all of these handles.

        Reads no token.
        """
        ...

    async def stamps(self) -> RevokedMarks:
        """Read what the sweep's stamps show."""
        ...

    async def sample(self, wanted: TokenFilter, *, size: int) -> Sample:
        """Read about `size` tokens at random, and count those that match."""
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
        """Return True if an unexpired admin token has all of these handles."""
        ...

    async def mark_used(self, uses: Collection[Use]) -> None:
        """Record when tokens were used, each by an instance of a service.

        A recorded time is never in the future. An unknown id changes nothing.
        """
        ...
