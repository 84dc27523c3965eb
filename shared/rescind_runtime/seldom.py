"""Log lines that others can cause: said at once, then counted, then said again with the count."""

_NS_PER_S = 1_000_000_000


class Seldom:
    """Let one line through in so many seconds, whatever flood there is behind it."""

    def __init__(self, period_s: float = 10.0) -> None:
        self._period_ns = round(period_s * _NS_PER_S)
        self._next_ns: int | None = None
        self._withheld = 0

    def due(self, now_ns: int) -> int | None:
        """Give how many were withheld before this one, or None: withhold this one too."""
        if self._next_ns is not None and now_ns < self._next_ns:
            self._withheld += 1
            return None
        withheld, self._withheld = self._withheld, 0
        self._next_ns = now_ns + self._period_ns
        return withheld
