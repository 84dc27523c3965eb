"""The log and the audit of refused calls: one a minute for each source, and how many more came.

A source is the address of the caller, as far as it is known, and not a name that the caller chose.
"""

from collections.abc import Callable
from http import HTTPStatus

import structlog
from fastapi import Request

from rescind.core import token_format
from rescind.errors import RescindError
from rescind_authority.errors import UnauthenticatedError
from rescind_authority.http.dependencies import address_of
from rescind_authority.ports.audit import RefusedCall
from rescind_runtime.clock import monotonic_raw_ns
from rescind_runtime.log_throttle import KeyedLogThrottle
from rescind_runtime.net.connection_limits import site

_PERIOD_S = 60.0
_MAX_SOURCES = 4_096
_REFUSED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


class RefusalLog:
    """Record refused calls, in the log and by `audit`."""

    def __init__(self, audit: Callable[[RefusedCall], None]) -> None:
        self._audit = audit
        self._throttle = KeyedLogThrottle(_PERIOD_S, most=_MAX_SOURCES)

    def log_refusal(self, request: Request, error: RescindError, status: int) -> None:
        """Record a 401 or a 403, unless one of its source was recorded within the last minute."""
        if status not in _REFUSED:
            return
        address = address_of(request)
        withheld = self._throttle.due(site(address or ""), monotonic_raw_ns())
        if withheld is None:
            return
        actor: str | None = getattr(request.state, "caller", None)
        if isinstance(error, UnauthenticatedError):
            actor = error.actor
        refusal = RefusedCall(
            actor=actor,
            call=f"{request.method} {getattr(request.scope.get('route'), 'path', '')}",
            status=status,
            why=token_format.hidden(str(error)),
            source=address,
            withheld=withheld,
        )
        _log.warning(
            "refused a caller",
            action="caller.refused",
            address=address,
            status=status,
            call=refusal.call,
            why=refusal.why,
            # The id comes last in an actor's name, and has no space in it.
            token_id=actor and actor.rpartition(" ")[2],
            withheld=withheld,
        )
        self._audit(refusal)
