"""Log lines for an operator's alert: one when the lease runs out, one when it is back."""

import structlog

from rescind.core.times import NS_PER_S

_PATIENCE_NS = 3 * NS_PER_S

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


class LeaseLog:
    """Log when the lease is lost or returns. Before the first lease, none counts as lost."""

    def __init__(self) -> None:
        self._leased: bool | None = None
        self._lost_ns = 0
        self._began_ns: int | None = None
        self._awaited = False

    def observe(self, *, leased: bool, now_ns: int, ends_ns: int, applied: int | None) -> None:
        """Log a change since the last call.

        `now_ns` and `ends_ns`, the end of the latest lease, are CLOCK_BOOTTIME.
        """
        if self._leased is None and not leased:
            self._wait(now_ns)
        elif leased and self._leased is None:
            _log.info("holds a lease", action="lease.first", seq=applied)
        elif leased and not self._leased:
            seconds = (now_ns - self._lost_ns) / NS_PER_S
            _log.info(
                "holds a lease again", action="lease.back", seq=applied, after_s=round(seconds, 1)
            )
        elif not leased and self._leased:
            # A new instance has had no lease: then the loss dates from now.
            self._lost_ns = ends_ns or now_ns
            _log.error(
                "the lease ran out: checks are denied, after any grace, until another is granted",
                action="lease.lost",
                applied=applied,
            )
        if leased or self._leased is not None:
            self._leased = leased

    def _wait(self, now_ns: int) -> None:
        if self._began_ns is None:
            self._began_ns = now_ns
        if not self._awaited and now_ns - self._began_ns >= _PATIENCE_NS:
            self._awaited = True
            _log.warning(
                "no authority grants a lease yet: every check is denied", action="lease.awaited"
            )
