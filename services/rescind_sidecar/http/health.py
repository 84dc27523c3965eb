"""The operator's endpoints: liveness, readiness and metrics of this sidecar."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, generate_latest

from rescind_sidecar.http.messages import (
    NO_STORE,
    NOT_FOUND,
    HttpRequest,
    HttpResponse,
    allowing,
    document,
    lines,
)
from rescind_sidecar.ports import BootClock
from rescind_sidecar.prometheus import SidecarMetrics
from rescind_sidecar.usecases.instance import SidecarInstances

PATHS = frozenset({"/healthz", "/readyz", "/metrics"})


class Operations:
    """Serve the operator's requests.

    Only the sidecar itself can serve them, because it holds the lease.
    """

    def __init__(
        self,
        instances: SidecarInstances,
        clock: BootClock,
        metrics: SidecarMetrics,
        *,
        distrust: Callable[[], str | None],
    ) -> None:
        """Store the arguments. `distrust` returns the trust statement's problem, or None."""
        self._instances = instances
        self._clock = clock
        self._metrics = metrics
        self._distrust = distrust
        self._registry = CollectorRegistry()
        self._registry.register(metrics)

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Return the response to a request."""
        if request.path not in PATHS:
            return NOT_FOUND
        if request.method not in {"GET", "HEAD"}:
            return allowing("GET, HEAD")
        match request.path:
            case "/readyz":
                return self._report_readiness()
            case "/metrics":
                media_type = lines([("content-type", "text/plain; version=0.0.4")])
                return HttpResponse(200, NO_STORE + media_type, generate_latest(self._registry))
            case _:
                return document(200, {"status": "alive"})

    def _report_readiness(self) -> HttpResponse:
        current = self._instances.current
        leased = current.view.leased(self._clock.boottime_ns())
        distrust = self._distrust()
        return document(
            200 if leased else 503,
            {
                "ready": leased,
                "instance": current.instance.hex(),
                "applied": current.view.applied.seq if current.view.applied else None,
                "link": self._metrics.link,
                "detail": _describe(leased=leased, refused=current.refused or distrust),
            },
        )


def _describe(*, leased: bool, refused: str | None) -> str:
    if refused is not None:
        state = "holds its last lease" if leased else "no lease"
        return f"{state}, and is refused another: {refused}"
    return "holds a lease" if leased else "no lease: the authority is not reached"
