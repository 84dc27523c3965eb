"""How much of the authority one workload may use up, so that a flood from one starves no other.

A source is a process on the other side of the socket. What it pays for is a look-up that it starts:
a record in memory, a token that another one asks for already, a forgery, cost it nothing. A budget
that is not touched fills up again, so it is forgotten when too many sources are known.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Self

from rescind.core.times import NS_PER_S

_MOST_SOURCES = 4_096


@dataclass(frozen=True, slots=True)
class LookupPeer:
    """Who asks: user and process as the kernel names them (SO_PEERCRED).

    Processes of other PID namespaces that are not seen from here all have the pid 0, and share.
    """

    user: int
    process: int


@dataclass(frozen=True, slots=True)
class TokenBucket:
    """What each source may do: so many look-ups a second, at once after a rest, and under way."""

    per_s: float
    burst: float
    under_way: int = 1_024

    @classmethod
    def of(cls, per_s: float) -> Self:
        """Allow a rate, and twice as many at once: what a process asks for when it starts."""
        return cls(per_s, burst=2 * per_s)


@dataclass(slots=True)
class _Account:
    left: float
    at_ns: int
    under_way: int = 0


class LookupLimits:
    """Keep one account for each source (a token bucket)."""

    def __init__(self, allowance: TokenBucket, *, most_sources: int = _MOST_SOURCES) -> None:
        self._allowance = allowance
        self._most_sources = most_sources
        self._accounts: OrderedDict[LookupPeer, _Account] = OrderedDict()

    def __len__(self) -> int:
        return len(self._accounts)

    def begin(self, source: LookupPeer, now_ns: int) -> bool:
        """Deduct a look-up from a source's budget. Return False if it is used up for now."""
        account = self._account(source, now_ns)
        earned = (now_ns - account.at_ns) / NS_PER_S * self._allowance.per_s
        account.left = min(self._allowance.burst, account.left + earned)
        account.at_ns = now_ns
        if account.left < 1 or account.under_way >= self._allowance.under_way:
            return False
        account.left -= 1
        account.under_way += 1
        return True

    def end(self, source: LookupPeer) -> None:
        """Record that a look-up has ended."""
        account = self._accounts.get(source)
        if account is not None and account.under_way:
            account.under_way -= 1

    def _account(self, source: LookupPeer, now_ns: int) -> _Account:
        account = self._accounts.get(source)
        if account is None:
            if len(self._accounts) >= self._most_sources:
                self._accounts.popitem(last=False)
            account = self._accounts[source] = _Account(self._allowance.burst, now_ns)
        self._accounts.move_to_end(source)
        return account
