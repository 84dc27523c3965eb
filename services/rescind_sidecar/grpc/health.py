"""`grpc.health.v1.Health/Check`, for the health checks of Envoy and of Kubernetes.

A worker that answers is serving. Whether the sidecar holds a lease is not a question of its health:
without one, a call gets 503 with a reason. Envoy would otherwise drop the sidecar, and the reason.
"""

from rescind_sidecar.grpc import ext_authz
from rescind_sidecar.grpc.protobuf import one, read, text, write

METHOD = ("grpc.health.v1.Health", "Check")

_SERVING = write(1, 1)  # HealthCheckResponse.status
_SERVICES = {"", METHOD[0], ext_authz.METHOD[0]}


class UnknownServiceError(LookupError):
    """Raised for a service that this server does not have."""


def check(message: bytes) -> bytes:
    """Return the HealthCheckResponse to a HealthCheckRequest.

    Raises UnknownServiceError and MalformedProtobufError.
    """
    service = text(one(read(message), 1))  # HealthCheckRequest.service
    if service not in _SERVICES:
        raise UnknownServiceError
    return _SERVING
