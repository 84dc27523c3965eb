"""Throttles for log lines that other parties can cause.

The first line is logged at once. Later ones are counted, and the next logged line has the count.
"""

from collections import OrderedDict

from rescind.core.times import NS_PER_S


class LogThrottle:
    """A limit of one log line in a number of seconds."""

    def __init__(self, period_s: float = 10.0) -> None:
        self._period_ns = round(period_s * NS_PER_S)
        self._next_ns: int | None = None
        self._withheld = 0

    def due(self, now_ns: int) -> int | None:
        """Return how many lines were suppressed before this one, or None to suppress this one."""
        if self._next_ns is not None and now_ns < self._next_ns:
            self._withheld += 1
            return None
        withheld, self._withheld = self._withheld, 0
        self._next_ns = now_ns + self._period_ns
        return withheld


class KeyedLogThrottle:
    """A limit of one log line of each source in a number of seconds.

    The number of sources is bounded: above it, the oldest source is forgotten.
    """

    def __init__(self, period_s: float, *, most: int) -> None:
        self._period_s = period_s
        self._most = most
        self._sources: OrderedDict[str, LogThrottle] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sources)

    def due(self, source: str, now_ns: int) -> int | None:
        """Return the result of `LogThrottle.due` for one source."""
        known = self._sources.get(source)
        if known is None:
            known = self._sources[source] = LogThrottle(self._period_s)
            if len(self._sources) > self._most:
                self._sources.popitem(last=False)
        return known.due(now_ns)
