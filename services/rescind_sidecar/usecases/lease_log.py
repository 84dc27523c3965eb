"""Say once when the lease runs out, and once when it is back: what an operator is woken for."""

import structlog

_NS_PER_S = 1_000_000_000

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


class LeaseLog:
    """Watch whether there is a lease. Before the first one nothing was lost."""

    def __init__(self) -> None:
        self._held: bool | None = None
        self._lost_ns = 0

    def saw(self, *, held: bool, now_ns: int, ends_ns: int, applied: int | None) -> None:
        """Take how it is now (CLOCK_BOOTTIME); `ends_ns` is when the latest lease ends or ended."""
        if held and self._held is None:
            _log.info("holds a lease", action="lease.first", seq=applied)
        elif held and not self._held:
            seconds = (now_ns - self._lost_ns) / _NS_PER_S
            _log.info(
                "holds a lease again", action="lease.back", seq=applied, after_s=round(seconds, 1)
            )
        elif not held and self._held:
            # A new instance never had one: there, it was lost just now.
            self._lost_ns = ends_ns or now_ns
            _log.error(
                "the lease ran out: every check is denied until an authority grants another",
                action="lease.lost",
                applied=applied,
            )
        if held or self._held is not None:
            self._held = held
