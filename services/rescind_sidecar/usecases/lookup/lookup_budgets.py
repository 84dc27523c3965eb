"""The look-up budget of each workload process: a flood from one process does not starve the others.

A source is a process on the other side of the socket. Only a look-up that the source starts is
deducted from its budget: a record in memory, a look-up that is already under way, and a forgery
cost nothing. Each budget is a token bucket (a rate and a burst), and bounds the concurrent look-ups
too. An unused budget fills up again. So with more than 4,096 sources, the budget that was unused
the longest is dropped.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Self

from rescind.core.times import NS_PER_S

_MAX_SOURCES = 4_096


@dataclass(frozen=True, slots=True)
class LookupSource:
    """The source of a look-up: user and process as the kernel reports them (SO_PEERCRED).

    Processes in PID namespaces that are not visible to the sidecar all have the pid 0, and share
    one budget.
    """

    user: int
    process: int


@dataclass(frozen=True, slots=True)
class LookupLimits:
    """The limits of each source: look-ups per second, the burst, and concurrent look-ups."""

    per_s: float
    burst: float
    concurrent: int = 1_024

    @classmethod
    def of(cls, per_s: float) -> Self:
        """Return limits with this rate, and a burst of twice the rate for a process that starts."""
        return cls(per_s, burst=2 * per_s)


@dataclass(slots=True)
class _Bucket:
    """The state of one source: the look-ups left at a time, and those under way."""

    left: float
    at_ns: int
    under_way: int = 0


class LookupBudgets:
    """Store a bucket for each source."""

    def __init__(self, limits: LookupLimits, *, most_sources: int = _MAX_SOURCES) -> None:
        self._limits = limits
        self._most_sources = most_sources
        self._buckets: OrderedDict[LookupSource, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def begin(self, source: LookupSource, now_ns: int) -> bool:
        """Deduct a look-up from a source's budget. Return False if the budget is used up."""
        bucket = self._bucket_of(source, now_ns)
        refill = (now_ns - bucket.at_ns) / NS_PER_S * self._limits.per_s
        bucket.left = min(self._limits.burst, bucket.left + refill)
        bucket.at_ns = now_ns
        if bucket.left < 1 or bucket.under_way >= self._limits.concurrent:
            return False
        bucket.left -= 1
        bucket.under_way += 1
        return True

    def end(self, source: LookupSource) -> None:
        """Record that a look-up of this source has ended."""
        bucket = self._buckets.get(source)
        if bucket is not None and bucket.under_way:
            bucket.under_way -= 1

    def _bucket_of(self, source: LookupSource, now_ns: int) -> _Bucket:
        bucket = self._buckets.get(source)
        if bucket is None:
            if len(self._buckets) >= self._most_sources:
                self._buckets.popitem(last=False)
            bucket = self._buckets[source] = _Bucket(self._limits.burst, now_ns)
        self._buckets.move_to_end(source)
        return bucket
