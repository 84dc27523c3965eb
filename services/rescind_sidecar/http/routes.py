"""The routes of a worker, by path."""

from collections.abc import Collection

from rescind.client.verifier import Verifier
from rescind_sidecar.data_plane.forward_auth import ForwardAuth
from rescind_sidecar.http import check, forward_auth, health, introspection
from rescind_sidecar.http.check import CheckEndpoint
from rescind_sidecar.http.forward_auth import VerifyEndpoint
from rescind_sidecar.http.http1_connection import Pending
from rescind_sidecar.http.introspection import IntrospectionEndpoint
from rescind_sidecar.http.messages import NOT_FOUND, HttpRequest, HttpResponse
from rescind_sidecar.http.operations_relay import Relay

WITH_BODY = frozenset({check.PATH, introspection.PATH})
"""The paths whose requests have a body that is read."""

_BELOW = f"{forward_auth.PATH}/"


class DataPlane:
    """Pass each request to the endpoint of its path."""

    def __init__(
        self,
        verifier: Verifier,
        relay: Relay,
        *,
        stale_status: int,
        address_header: str | None,
        audiences: Collection[str] = (),
        resource_metadata: str | None = None,
        introspection_on_loopback: bool = False,
        introspection_exp: bool = False,
    ) -> None:
        decision = ForwardAuth(
            verifier,
            stale_status=stale_status,
            audiences=audiences,
            resource_metadata=resource_metadata,
        )
        self._verify = VerifyEndpoint(decision, address_header=address_header)
        self._check = CheckEndpoint(verifier)
        self._introspection = IntrospectionEndpoint(
            verifier, loopback=introspection_on_loopback, with_exp=introspection_exp
        )
        self._relay = relay

    def __call__(self, request: HttpRequest) -> HttpResponse | Pending:
        """Route a request by its path, and return the response."""
        path = request.path
        # A prefix of the undecoded path: no text after `/verify/` leads to another endpoint.
        if path == forward_auth.PATH or path.startswith(_BELOW):
            return self._verify(request)
        if path == check.PATH:
            return self._check(request)
        if path == introspection.PATH:
            return self._introspection(request)
        if path in health.PATHS:
            return self._relay(request)
        return NOT_FOUND
