"""Whether this sidecar is alive, whether it may answer, and what it counts."""

from collections.abc import Callable, Iterable
from dataclasses import fields

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rescind_sidecar.ports import Clock
from rescind_sidecar.usecases.incarnations import Incarnations
from rescind_sidecar.usecases.tally import Tally

_NS_PER_S = 1_000_000_000


class SidecarMetrics(Collector):
    """Read the tally and the view when somebody asks, and not before."""

    def __init__(
        self, incarnations: Incarnations, tally: Tally, clock: Clock, connected: Callable[[], bool]
    ) -> None:
        self._incarnations = incarnations
        self._tally = tally
        self._clock = clock
        self._connected = connected

    def collect(self) -> Iterable[Metric]:
        """Give every counter and gauge."""
        for field in fields(Tally):
            yield CounterMetricFamily(
                f"rescind_sidecar_{field.name}",
                field.name.replace("_", " "),
                value=getattr(self._tally, field.name),
            )
        view = self._incarnations.current.view
        left_ns = view.leases.ends_ns - self._clock.boottime_ns()
        gauges = (
            ("lease_left_seconds", "Until every check is denied", max(0, left_ns) / _NS_PER_S),
            ("applied_seq", "The last event applied", view.applied.seq if view.applied else 0),
            ("records", "Records in memory", len(view.records)),
            ("nats_connected", "Whether NATS can be reached", float(self._connected())),
        )
        for name, text, value in gauges:
            yield GaugeMetricFamily(f"rescind_sidecar_{name}", text, value=value)


def routes(incarnations: Incarnations, clock: Clock, metrics: SidecarMetrics) -> list[Route]:
    """List the endpoints for whoever operates this sidecar."""
    registry = CollectorRegistry()
    registry.register(metrics)

    async def healthz(_request: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def readyz(_request: Request) -> Response:
        current = incarnations.current
        leased = current.view.leased(clock.boottime_ns())
        return JSONResponse(
            {
                "ready": leased,
                "instance": current.instance.hex(),
                "applied": current.view.applied.seq if current.view.applied else None,
                "detail": "holds a lease" if leased else "no lease: the authority is not reached",
            },
            status_code=200 if leased else 503,
        )

    async def metrics_text(_request: Request) -> Response:
        return Response(generate_latest(registry), media_type="text/plain; version=0.0.4")

    return [
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/metrics", metrics_text),
    ]
