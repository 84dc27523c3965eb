"""The canary's Prometheus metrics: how long enforcement takes, and how each round ended."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from rescind_cli.canary.probe import RoundResult
from rescind_runtime import clock

_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0)


class CanaryMetrics:
    """The metrics of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._enforced = Histogram(
            "rescind_canary_enforced_seconds",
            "From the commit of the canary's revocation until no verifier accepts its token.",
            buckets=_BUCKETS_S,
            registry=registry,
        )
        self._verifier = Histogram(
            "rescind_canary_verifier_seconds",
            "From that commit until the outcome at a service's sidecar, by service and outcome.",
            ("service", "outcome"),
            buckets=_BUCKETS_S,
            registry=registry,
        )
        self._rounds = Counter(
            "rescind_canary_rounds",
            "Rounds: `enforced`, `faulty` (a check had the wrong result), `late` (no receipt "
            "in time), `unreachable`.",
            ("outcome",),
            registry=registry,
        )
        self._succeeded = Gauge(
            "rescind_canary_last_success_timestamp_seconds",
            "The time of the last successful round, in Unix seconds.",
            registry=registry,
        )

    def serve(self, port: int) -> None:
        """Serve `/metrics` on the loopback, from a thread of its own."""
        start_http_server(port, addr="127.0.0.1", registry=self.registry)

    def observe_unreachable(self) -> None:
        """Count a round that could not begin or end."""
        self._rounds.labels("unreachable").inc()

    def observe(self, result: RoundResult) -> None:
        """Record the result of a round."""
        for each in result.verifiers:
            self._verifier.labels(each.service, each.outcome).observe(each.latency_ms / 1000)
        if result.faults:
            self._rounds.labels("faulty").inc()
        elif result.enforced_ms is None:
            self._rounds.labels("late").inc()
        else:
            self._enforced.observe(result.enforced_ms / 1000)
            self._rounds.labels("enforced").inc()
            self._succeeded.set(clock.wall_us() / 1_000_000)
