"""The posture of a verifier without a lease: `strict`, or grace for some kinds of token.

    strict                          without a lease every check is denied
    grace:session=60s,service=5m    sessions continue for a minute, services for five

Grace is declared, bounded and counted. The instance's lease row and the socket's greeting contain
it, and so does every receipt that could not wait for its end (design 7 and 8). Grace extends a
lease; an instance that never had a lease has no grace.
"""

import re
from dataclasses import dataclass
from typing import Self

from rescind.core.token_format import Kind
from rescind.errors import PostureError

MAX_GRACE_NS = 3_600 * 10**9
"""An hour. For more, choose a longer term, which receipts can wait for."""

MAX_GRACE_MS = MAX_GRACE_NS // 10**6

_STRICT = "strict"
_GRACE = "grace:"
_UNITS_NS = {"ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3_600 * 10**9}
_PART = re.compile(r"([a-z]+)=([1-9][0-9]{0,8})(ms|s|m|h)")
_EXAMPLE = "expected `strict` or, for example, `grace:session=60s,service=5m`"


@dataclass(frozen=True, slots=True)
class Posture:
    """The grace of each kind of token after the lease; a kind that is not listed has none."""

    graces_ns: tuple[tuple[Kind, int], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a posture. Raises PostureError, whose text shows a valid one."""
        if text == _STRICT:
            return cls()
        if not text.startswith(_GRACE):
            raise PostureError(f"{text[:80]!r} is not a posture: {_EXAMPLE}")
        graces: dict[Kind, int] = {}
        for part in text.removeprefix(_GRACE).split(","):
            kind, grace_ns = _parse_part(part)
            if kind in graces:
                raise PostureError(f"the posture names {kind} twice: {_EXAMPLE}")
            graces[kind] = grace_ns
        return cls(tuple(sorted(graces.items())))

    @property
    def strict(self) -> bool:
        """Return True if no token is accepted without a lease."""
        return not self.graces_ns

    @property
    def longest_grace_ns(self) -> int:
        """Return the longest grace of any kind, in nanoseconds."""
        return max((grace_ns for _, grace_ns in self.graces_ns), default=0)

    def grace_ns(self, kind: Kind) -> int:
        """Return the grace of a kind, in nanoseconds."""
        return dict(self.graces_ns).get(kind, 0)

    def __str__(self) -> str:
        if self.strict:
            return _STRICT
        return _GRACE + ",".join(f"{kind}={_format_grace(each)}" for kind, each in self.graces_ns)


STRICT = Posture()


def is_within_limit(posture: Posture, *, limit: Posture) -> bool:
    """Return True if no kind has a longer grace than in the limit."""
    return all(grace_ns <= limit.grace_ns(kind) for kind, grace_ns in posture.graces_ns)


def assumed_grace_ns(text: str) -> int:
    """Return the grace that a wait must assume for a verifier with this posture, in nanoseconds.

    That is the longest grace of any kind. A text that cannot be parsed may come from a newer
    version, and counts as the longest grace that is allowed.
    """
    try:
        return Posture.parse(text).longest_grace_ns
    except PostureError:
        return MAX_GRACE_NS


def _parse_part(text: str) -> tuple[Kind, int]:
    match = _PART.fullmatch(text)
    if match is None or match[1] not in set(Kind):
        kinds = ", ".join(Kind)
        raise PostureError(f"{text[:80]!r} is not a grace period: {_EXAMPLE}; kinds are {kinds}")
    grace_ns = int(match[2]) * _UNITS_NS[match[3]]
    if grace_ns > MAX_GRACE_NS:
        raise PostureError(f"{text!r} is longer than an hour, the longest grace period")
    return Kind(match[1]), grace_ns


def _format_grace(grace_ns: int) -> str:
    unit = next(unit for unit in reversed(_UNITS_NS) if grace_ns % _UNITS_NS[unit] == 0)
    return f"{grace_ns // _UNITS_NS[unit]}{unit}"
