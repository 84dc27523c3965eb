"""Scopes: what a token may do, and patterns of them (a scope-token of RFC 6749, section 3.3).

    scope    tools:call:github/issues      elements, with `:` or `/` between them
    pattern  tools:call:github/*           whatever begins with `tools:call:github/`
             tools:*                       whatever begins with `tools:`
             *                             every scope

`*` is allowed only as the last element, so that a pattern is a prefix. Matching costs one
comparison, and it can be decided whether one pattern covers or meets another.
"""

import re
from collections.abc import Collection, Iterable

from rescind.errors import ScopeError

WILDCARD = "*"
MAX_CHARACTERS = 128
MAX_REPORTED_BYTES = 2_048
"""The limit of the reported removed patterns of one token, as in `X-Rescind-Scopes-Removed`."""

_CHARACTERS = re.compile(rf"[\x21\x23-\x5b\x5d-\x7e]{{1,{MAX_CHARACTERS}}}")
_PATTERN = re.compile(r"(?:[^*]*[:/])?\*")


def parse(text: str) -> str:
    """Return a valid scope or pattern, unchanged. Raises ScopeError, which shows a valid one."""
    shown = repr(text[:40]) + ("…" if len(text) > 40 else "")  # noqa: PLR2004 enough to find it by
    if not _CHARACTERS.fullmatch(text):
        raise ScopeError(
            f"{shown} is not a valid scope: 1 to {MAX_CHARACTERS} printable ASCII characters "
            'without space, \'"\' and "\\" (RFC 6749, section 3.3)'
        )
    if WILDCARD in text and not _PATTERN.fullmatch(text):
        raise ScopeError(
            f"{shown} is not a valid pattern: `*` may only be at the end, alone or after `:` or "
            "`/`, as in tools:call:github/*"
        )
    return text


def is_valid(text: str) -> bool:
    """Return True if a text is a valid scope or pattern."""
    return bool(_CHARACTERS.fullmatch(text)) and (
        WILDCARD not in text or bool(_PATTERN.fullmatch(text))
    )


def prefix(pattern: str) -> str | None:
    """Return the prefix that a pattern stands for, or None for a plain scope."""
    return pattern[:-1] if pattern.endswith(WILDCARD) else None


class Matcher:
    """Scopes and patterns, prepared for many comparisons: each is one call into C."""

    __slots__ = ("patterns", "prefixes")

    def __init__(self, patterns: Collection[str]) -> None:
        self.patterns = patterns
        self.prefixes = tuple(start for each in patterns if (start := prefix(each)) is not None)

    def covers(self, wanted: str) -> bool:
        """Return the same as the module's `covers`."""
        return wanted.startswith(self.prefixes) or wanted in self.patterns

    def meets(self, wanted: str) -> bool:
        """Return the same as the module's `meets`."""
        return self.covers(wanted) or (wanted[-1:] == WILDCARD and meets(self.patterns, wanted))


def covers(granted: Iterable[str], wanted: str) -> bool:
    """Return True if the grant contains a scope, or every scope of a pattern."""
    return any(_pattern_covers(pattern, wanted) for pattern in granted)


def meets(removed: Iterable[str], wanted: str) -> bool:
    """Return True if the removal concerns a scope, or any part of a pattern."""
    return any(
        _pattern_covers(pattern, wanted) or _pattern_covers(wanted, pattern) for pattern in removed
    )


def remaining(granted: Iterable[str], removed: Collection[str]) -> frozenset[str]:
    """Return the granted patterns of which no part was removed.

    No list of patterns can express `tools:*` without `tools:call:*`, so `tools:*` is left out: a
    caller that decides by the list allows too little, never too much.
    """
    removal = Matcher(removed)
    return frozenset(each for each in granted if not removal.meets(each))


def reported(removed: Collection[str], *, most_bytes: int = MAX_REPORTED_BYTES) -> tuple[str, ...]:
    """Return the removed patterns, sorted; above the limit, the first ones and then `*`.

    The `*` errs on the side of denial: a reader that removes the reported patterns removes all.
    The size is that in a header: `%` counts three bytes, and one byte separates two patterns.
    """
    left_bytes, patterns = most_bytes, list[str]()
    for each in sorted(removed):
        left_bytes -= len(each) + 2 * each.count("%") + 1
        if left_bytes < 0:
            return (*patterns, WILDCARD)
        patterns.append(each)
    return tuple(patterns)


def _pattern_covers(pattern: str, wanted: str) -> bool:
    pattern_prefix = prefix(pattern)
    return pattern == wanted if pattern_prefix is None else wanted.startswith(pattern_prefix)
