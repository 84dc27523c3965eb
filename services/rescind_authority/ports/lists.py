"""Lists and counts of tokens, in bounded time."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from rescind.core.handles import Handle


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
