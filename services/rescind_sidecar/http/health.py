"""Whether this sidecar is alive, whether it may answer, and what it counts."""

from prometheus_client import CollectorRegistry, generate_latest

from rescind_sidecar.http.messages import (
    NO_STORE,
    NOT_FOUND,
    Reply,
    Request,
    allowing,
    document,
    lines,
)
from rescind_sidecar.metrics import SidecarMetrics
from rescind_sidecar.ports import Clock
from rescind_sidecar.usecases.incarnations import Incarnations

PATHS = frozenset({"/healthz", "/readyz", "/metrics"})


class Operations:
    """Answer whoever operates this sidecar. Only the sidecar itself can: it holds the lease."""

    def __init__(self, incarnations: Incarnations, clock: Clock, metrics: SidecarMetrics) -> None:
        self._incarnations = incarnations
        self._clock = clock
        self._metrics = metrics
        self._registry = CollectorRegistry()
        self._registry.register(metrics)

    def __call__(self, request: Request) -> Reply:
        """Answer a request."""
        if request.path not in PATHS:
            return NOT_FOUND
        if request.method not in {"GET", "HEAD"}:
            return allowing("GET, HEAD")
        match request.path:
            case "/readyz":
                return self._readiness()
            case "/metrics":
                media_type = lines([("content-type", "text/plain; version=0.0.4")])
                return Reply(200, NO_STORE + media_type, generate_latest(self._registry))
            case _:
                return document(200, {"status": "alive"})

    def _readiness(self) -> Reply:
        current = self._incarnations.current
        leased = current.view.leased(self._clock.boottime_ns())
        return document(
            200 if leased else 503,
            {
                "ready": leased,
                "instance": current.instance.hex(),
                "applied": current.view.applied.seq if current.view.applied else None,
                "link": self._metrics.link,
                "detail": "holds a lease" if leased else "no lease: the authority is not reached",
            },
        )
