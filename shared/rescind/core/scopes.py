"""Scopes: what a token may do, and patterns of them (a scope-token of RFC 6749, section 3.3).

    scope    tools:call:github/issues      elements, with `:` or `/` between them
    pattern  tools:call:github/*           whatever goes on from `tools:call:github/`
             tools:*                       whatever goes on from `tools:`
             *                             every scope

`*` stands only as the last element, so that a pattern is a prefix: matching costs one comparison,
and whether one pattern covers or meets another can be decided.
"""

import re
from collections.abc import Iterable

from rescind.errors import ScopeError

WILDCARD = "*"
MAX_CHARACTERS = 128

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
    """Give what every scope of a pattern begins with, or None for a plain scope."""
    return pattern[:-1] if pattern.endswith(WILDCARD) else None


def covers(granted: Iterable[str], wanted: str) -> bool:
    """Say whether what is granted contains a scope, or all that a pattern stands for."""
    return any(_covers(pattern, wanted) for pattern in granted)


def meets(removed: Iterable[str], wanted: str) -> bool:
    """Say whether what was taken away touches a scope, or any part of a pattern."""
    return any(_covers(pattern, wanted) or _covers(wanted, pattern) for pattern in removed)


def _covers(pattern: str, wanted: str) -> bool:
    if pattern == wanted:
        return True
    start = prefix(pattern)
    # A pattern stands for what goes on from its prefix: `tools:*` is not `tools:` itself.
    return start is not None and wanted.startswith(start) and wanted != start
