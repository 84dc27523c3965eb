"""Scopes: what a token may do, and patterns of them (a scope-token of RFC 6749, section 3.3).

    scope    tools:call:github/issues      elements, with `:` or `/` between them
    pattern  tools:call:github/*           whatever begins with `tools:call:github/`
             tools:*                       whatever begins with `tools:`
             *                             every scope

`*` stands only as the last element, so that a pattern is a prefix: matching costs one comparison,
and whether one pattern covers or meets another can be decided.
"""

import re
from collections.abc import Collection, Iterable

from rescind.errors import ScopeError

WILDCARD = "*"
MAX_CHARACTERS = 128
MAX_TOLD_BYTES = 2_048
"""Of the removed patterns that are told of one token, as `X-Rescind-Scopes-Removed` writes them."""

_CHARACTERS = re.compile(rf"[\x21\x23-\x5b\x5d-\x7e]{{1,{MAX_CHARACTERS}}}")
_PATTERN = re.compile(r"(?:[^*]*[:/])?\*")


def parse(text: str) -> str:
    """Read a scope or a pattern. Raises ScopeError, which says what a good one looks like."""
    shown = repr(text[:40]) + ("…" if len(text) > 40 else "")  # noqa: PLR2004 enough to find it by
    if not _CHARACTERS.fullmatch(text):
        raise ScopeError(
            f"{shown} is no scope: 1 to {MAX_CHARACTERS} printable ASCII characters without "
            'space, \'"\' and "\\" (RFC 6749, section 3.3)'
        )
    if WILDCARD in text and not _PATTERN.fullmatch(text):
        raise ScopeError(
            f"{shown} is no pattern: `*` stands at the end, alone or after `:` or `/`, "
            "as in tools:call:github/*"
        )
    return text


def prefix(pattern: str) -> str | None:
    """Return what every scope of a pattern begins with, or None for a plain scope."""
    return pattern[:-1] if pattern.endswith(WILDCARD) else None


class Matcher:
    """Scopes and patterns made ready to be held against many: one call into C for each question."""

    __slots__ = ("patterns", "starts")

    def __init__(self, patterns: Collection[str]) -> None:
        self.patterns = patterns
        self.starts = tuple(start for each in patterns if (start := prefix(each)) is not None)

    def covers(self, wanted: str) -> bool:
        """Return the same as the module's `covers`."""
        return wanted.startswith(self.starts) or wanted in self.patterns

    def meets(self, wanted: str) -> bool:
        """Return the same as the module's `meets`."""
        return self.covers(wanted) or (wanted[-1:] == WILDCARD and meets(self.patterns, wanted))


def covers(granted: Iterable[str], wanted: str) -> bool:
    """Return True if the grant contains a scope, or every scope of a pattern."""
    return any(_covers(pattern, wanted) for pattern in granted)


def meets(removed: Iterable[str], wanted: str) -> bool:
    """Return True if the removal concerns a scope, or any part of a pattern."""
    return any(_covers(pattern, wanted) or _covers(wanted, pattern) for pattern in removed)


def remaining(granted: Iterable[str], removed: Collection[str]) -> frozenset[str]:
    """Return the granted patterns of which no part was taken away.

    Of `tools:*` without `tools:call:*` no list of patterns can say what is left, so it is left out:
    a caller that decides by the list allows too little, never too much.
    """
    taken = Matcher(removed)
    return frozenset(each for each in granted if not taken.meets(each))


def told(removed: Collection[str], *, most_bytes: int = MAX_TOLD_BYTES) -> tuple[str, ...]:
    """Return the removed patterns, sorted; of more than fit, the first ones and then `*`.

    The `*` errs on the side that denies: a reader that takes away what it is told takes away all.
    A pattern counts as it is written in a header: `%` as three bytes, and one between two patterns.
    """
    left, shown = most_bytes, list[str]()
    for each in sorted(removed):
        left -= len(each) + 2 * each.count("%") + 1
        if left < 0:
            return (*shown, WILDCARD)
        shown.append(each)
    return tuple(shown)


def _covers(pattern: str, wanted: str) -> bool:
    start = prefix(pattern)
    return pattern == wanted if start is None else wanted.startswith(start)
