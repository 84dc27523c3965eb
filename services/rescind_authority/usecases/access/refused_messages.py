"""Count refused messages, and log a few of them."""

import structlog

from rescind.errors import MalformedMessageError
from rescind_authority.ports.clock import Clock
from rescind_authority.ports.metrics import Metrics
from rescind_runtime.log_throttle import LogThrottle

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


class RefusedMessages:
    """Count the refused messages of one transport. Any client can send any number of them."""

    def __init__(self, *, clock: Clock, metrics: Metrics) -> None:
        self._clock = clock
        self._metrics = metrics
        self._throttle = LogThrottle()

    def count_refused(self, subject: str, error: MalformedMessageError) -> None:
        """Count a message, and log it unless another one was logged just before."""
        self._metrics.unanswered(subject=subject, outcome="refused")
        withheld = self._throttle.due(self._clock.monotonic_raw_ns())
        if withheld is not None:
            _log.warning(
                "refused a message",
                action="message.refused",
                subject=subject,
                why=str(error),
                withheld=withheld,
            )
