"""The posture: what a verifier does without a lease, `strict` or grace for some kinds of token.

    strict                          without a lease every check is denied
    grace:session=60s,service=5m    sessions continue for a minute, services for five

Grace is declared, bounded and counted: it appears in the instance's lease row, in the socket's
greeting and in every receipt that could not wait for it (design 7 and 8). Grace extends a lease
that was held; an instance that never had a lease has no grace.
"""

import re
from dataclasses import dataclass
from typing import Self

from rescind.core.token_format import Kind
from rescind.errors import PostureError

LONGEST_GRACE_NS = 3_600 * 10**9
"""An hour. For more, choose a longer term, which receipts can wait for."""

LONGEST_GRACE_MS = LONGEST_GRACE_NS // 10**6

_STRICT = "strict"
_GRACE = "grace:"
_UNITS_NS = {"ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3_600 * 10**9}
_PART = re.compile(r"([a-z]+)=([1-9][0-9]{0,8})(ms|s|m|h)")
_EXAMPLE = "expected strict, or such as grace:session=60s,service=5m"


@dataclass(frozen=True, slots=True)
class Posture:
    """The grace of each kind of token after the lease; kinds that are not named have none."""

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
            kind, grace_ns = _part(part)
            if kind in graces:
                raise PostureError(f"the posture names {kind} twice: {_EXAMPLE}")
            graces[kind] = grace_ns
        return cls(tuple(sorted(graces.items())))

    @property
    def strict(self) -> bool:
        """Whether no token is accepted without a lease."""
        return not self.graces_ns

    @property
    def longest_ns(self) -> int:
        """The longest grace of a kind, in nanoseconds."""
        return max((grace_ns for _, grace_ns in self.graces_ns), default=0)

    def grace_ns(self, kind: Kind) -> int:
        """Return the grace of a kind, in nanoseconds."""
        return dict(self.graces_ns).get(kind, 0)

    def __str__(self) -> str:
        if self.strict:
            return _STRICT
        return _GRACE + ",".join(f"{kind}={_shown(each)}" for kind, each in self.graces_ns)


STRICT = Posture()


def within(posture: Posture, worst: Posture) -> bool:
    """Return True if no kind has a longer grace than in the worst posture."""
    return all(grace_ns <= worst.grace_ns(kind) for kind, grace_ns in posture.graces_ns)


def longest_ns(text: str) -> int:
    """Return the longest grace of a posture, in nanoseconds, as a waiter must assume it.

    A text that cannot be parsed may come from a newer version, and counts as the longest grace.
    """
    try:
        return Posture.parse(text).longest_ns
    except PostureError:
        return LONGEST_GRACE_NS


def _part(text: str) -> tuple[Kind, int]:
    found = _PART.fullmatch(text)
    if found is None or found[1] not in set(Kind):
        kinds = ", ".join(Kind)
        raise PostureError(f"{text[:80]!r} is not a grace: {_EXAMPLE}; kinds are {kinds}")
    grace_ns = int(found[2]) * _UNITS_NS[found[3]]
    if grace_ns > LONGEST_GRACE_NS:
        raise PostureError(f"{text!r} is longer than an hour, which is the longest grace")
    return Kind(found[1]), grace_ns


def _shown(grace_ns: int) -> str:
    unit = next(unit for unit in reversed(_UNITS_NS) if grace_ns % _UNITS_NS[unit] == 0)
    return f"{grace_ns // _UNITS_NS[unit]}{unit}"
