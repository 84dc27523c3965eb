"""A log line for an authority's clock that was set back.

Until the clock has caught up, tokens may be denied as expired before their end.
"""

import structlog

from rescind_runtime.log_throttle import LogThrottle
from rescind_sidecar.view.authority_clock import AuthorityTime

_BEHIND_US = 5_000_000  # more than a slow heartbeat and drifting clocks cause
_AGAIN_S = 600.0

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


class ClockLog:
    """Compare the bound that this sidecar uses with the time in the last reply."""

    def __init__(self) -> None:
        self._throttle = LogThrottle(_AGAIN_S)

    def observe(self, time: AuthorityTime | None, now_ns: int) -> None:
        """Compare the times now (CLOCK_BOOTTIME); warn once in ten minutes while they differ."""
        behind_us = 0 if time is None else time.ahead_us(now_ns)
        if behind_us < _BEHIND_US or self._throttle.due(now_ns) is None:
            return
        _log.warning(
            "the authority's clock was set back, or another server's is behind: tokens are judged "
            "by the time before, which the clock catches up with a tenth at a time",
            action="clock.set_back",
            behind_s=round(behind_us / 1e6, 1),
        )
