"""Rows of Postgres that fail their MAC: logged, counted and audited."""

from collections.abc import Callable

import structlog

from rescind_authority.ports.audit import RefusedCall
from rescind_authority.ports.clock import Clock
from rescind_authority.ports.metrics import Metrics
from rescind_runtime.log_throttle import KeyedLogThrottle

MOST = 4_096
_PERIOD_S = 60.0

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


class RefusedRows:
    """Report refused rows: count each, and log and audit it once a minute."""

    def __init__(
        self, audit: Callable[[RefusedCall], None], *, clock: Clock, metrics: Metrics
    ) -> None:
        self._audit = audit
        self._clock = clock
        self._metrics = metrics
        self._rows = KeyedLogThrottle(_PERIOD_S, most=MOST)

    def report(self, name: str, why: str) -> None:
        """Report a refused row, by the id of its token."""
        self._metrics.row_refused()
        withheld = self._rows.due(name, self._clock.monotonic_raw_ns())
        if withheld is None:
            return
        _log.error(
            "a row of Postgres is not as an authority wrote it, and is not used. "
            "See deploy/runbooks/changed-postgres.md",
            action="row.refused",
            id=name,
            why=why,
            withheld=withheld,
        )
        self._audit(
            RefusedCall(
                actor=None,
                call="row",
                status=0,
                why=f"{name}: {why}",
                source=None,
                withheld=withheld,
            )
        )
