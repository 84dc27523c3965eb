"""`envoy.service.auth.v3.Authorization/Check`: the decision of `/verify`, for Envoy's ext_authz.

The requirements of a route are its `context_extensions`: `require` (or `scope`), `audience` and
`min_seq`, as in the query of `/verify`. The path and the query are the caller's, and are never
read. The caller's address is the one that Envoy found, so no header names it.

A route whose requirements cannot be used is denied with 500: Envoy, not the caller, must change.
"""

import structlog

from rescind.wire import bearer
from rescind.wire.bearer import Refusal
from rescind_runtime import clock
from rescind_runtime.log_throttle import LogThrottle
from rescind_sidecar.data_plane import requirements
from rescind_sidecar.data_plane.forward_auth import Decision, ForwardAuth, Permit
from rescind_sidecar.data_plane.record_headers import HeaderCache
from rescind_sidecar.data_plane.requirements import Requirements, RequirementsError
from rescind_sidecar.grpc import ext_authz
from rescind_sidecar.grpc.ext_authz import HeldCall
from rescind_sidecar.grpc.protobuf import MalformedProtobufError

_SELDOM_S = 60.0
_ADVICE = "as `context_extensions` of the route"
_UNREADABLE = ext_authz.encode_problem(
    400, "unreadable", "The request cannot be read", "Send a CheckRequest as Envoy does."
)

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


class CheckService:
    """Answer the Check calls of Envoy."""

    def __init__(self, forward_auth: ForwardAuth) -> None:
        self._forward_auth = forward_auth
        self._headers = HeaderCache(ext_authz.encode_record)
        self._throttle = LogThrottle(_SELDOM_S)

    async def check(self, message: bytes) -> bytes:
        """Return the CheckResponse to a CheckRequest. Any other message is denied."""
        try:
            call = ext_authz.decode(message)
        except MalformedProtobufError:
            return _UNREADABLE
        try:
            decision = self._forward_auth.decide(
                bearer.find(call.headers), _read_requirements(call.extensions), call.address
            )
        except RequirementsError as error:
            return self._refuse_route(error)
        if not isinstance(decision, (Permit, Refusal)):
            decision = await decision
        return self._encode(decision, call)

    def _encode(self, decision: Decision, call: HeldCall) -> bytes:
        match decision:
            case Permit(record, as_of):
                return ext_authz.encode_allowed(
                    self._headers.find(record), as_of=as_of, sent=call.headers
                )
            case Refusal():
                return ext_authz.encode_refusal(decision)

    def _refuse_route(self, error: RequirementsError) -> bytes:
        withheld = self._throttle.due(clock.monotonic_raw_ns())
        if withheld is not None:
            _log.error(
                "a route of Envoy has context_extensions that cannot be used; its calls are denied",
                action="grpc.route_refused",
                why=str(error),
                withheld=withheld,
            )
        return ext_authz.encode_problem(
            500, "invalid-route", "The route's requirements cannot be used", str(error)
        )


def _read_requirements(extensions: list[tuple[str, str]]) -> Requirements:
    """Return the requirements in context_extensions. Raises RequirementsError."""
    if not extensions:
        return requirements.NO_REQUIREMENTS
    if any(mark in value for _, value in extensions for mark in ",;"):
        # They may be part of a scope: a token with the pattern `a:*` would grant `a:x,b:y`.
        raise RequirementsError("`,` and `;` separate nothing here: write spaces between scopes.")
    return requirements.parse(extensions, advice=_ADVICE)
