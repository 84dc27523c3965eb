"""The look-up budget of each workload, so that a flood from one does not starve the others.

A source is a process on the other side of the socket. Only look-ups that it starts count: a record
in memory, a token whose look-up is already under way, and a forgery cost nothing. An unused budget
fills up again, so above 4,096 sources the budget that was unused the longest is dropped.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Self

from rescind.core.times import NS_PER_S

_MOST_SOURCES = 4_096


@dataclass(frozen=True, slots=True)
class LookupPeer:
    """The source of a look-up: user and process as the kernel reports them (SO_PEERCRED).

    Processes of PID namespaces that are not visible from here all have the pid 0, and share one
    budget.
    """

    user: int
    process: int


@dataclass(frozen=True, slots=True)
class TokenBucket:
    """The limits of each source: look-ups a second, in a burst after a rest, and under way."""

    per_s: float
    burst: float
    under_way: int = 1_024

    @classmethod
    def of(cls, per_s: float) -> Self:
        """Return a bucket with this rate and twice as many at once, for a process that starts."""
        return cls(per_s, burst=2 * per_s)


@dataclass(slots=True)
class _Account:
    left: float
    at_ns: int
    under_way: int = 0


class LookupLimits:
    """Store one account for each source (a token bucket)."""

    def __init__(self, allowance: TokenBucket, *, most_sources: int = _MOST_SOURCES) -> None:
        self._allowance = allowance
        self._most_sources = most_sources
        self._accounts: OrderedDict[LookupPeer, _Account] = OrderedDict()

    def __len__(self) -> int:
        return len(self._accounts)

    def begin(self, source: LookupPeer, now_ns: int) -> bool:
        """Deduct a look-up from a source's budget. Return False if the budget is used up."""
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
