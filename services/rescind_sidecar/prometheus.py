"""A sidecar's metrics for Prometheus, read from the counters and the view at each scrape."""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from rescind.core.times import NS_PER_S
from rescind_sidecar.ports import BootClock
from rescind_sidecar.stats.counters import Counters
from rescind_sidecar.usecases.instance import SidecarInstances

_PREFIX = "rescind_sidecar_"

COUNTERS = {
    "events_pushed": "Events that arrived over NATS, including those that were applied already.",
    "events_repaired": "Events that had to be fetched because a push was lost or late.",
    "messages_refused": "Messages that were not valid; they changed nothing.",
    "instances_ended": "Instances that ended because the ledger was not the one they followed.",
    "heartbeats": "Heartbeats that an authority answered.",
    "heartbeats_lost": "Heartbeats without an answer in time.",
    "enrolments_refused": "Answers to an enrolment that refused it, or were not genuine.",
    "looks_in_grace": "Look-ups answered without a lease, as the posture allows. Checks from a "
    "process's own memory are not counted.",
    "acknowledgements": "Acknowledgements sent because a client waited for them.",
    "looks_from_memory": "Look-ups of workloads answered from memory: first checks in a process, "
    "checks after an event near the token, and checks without the table.",
    "looks_at_authority": "Look-ups sent to an authority.",
    "looks_unanswered": "Look-ups without an answer in time; the workload got `unavailable`.",
    "forgeries": "Tokens dropped by their tag, without a look-up.",
    "looks_at_redis": "Look-ups that Redis answered.",
    "redis_absent": "Look-ups for which Redis had no record, or did not answer.",
    "redis_stale": "Records from Redis that had ended, or may have been hit.",
    "redis_refused": "Records from Redis that were not valid.",
    "looks_known_unknown": "Look-ups of a token that the authority did not find a second ago.",
    "looks_over_budget": "Look-ups refused because their source had used up its budget.",
    "connections_refused": "Connections of workloads refused, because there were too many.",
    "http_workers_restarted": "Workers of the HTTP data plane that died and were started again.",
    "grpc_workers_restarted": "Workers of gRPC that died and were started again.",
    "uses_reported": "Tokens reported to the authority as used.",
    "uses_lost": "Tokens whose use was not reported.",
    "link_changes": "Changes of the link from NATS to HTTP, or back.",
}


ROUTES = ("nats", "http")


class SidecarMetrics(Collector):
    """Collect the counters and the view as metrics. `redis` is None without Redis."""

    def __init__(
        self,
        instances: SidecarInstances,
        tally: Counters,
        clock: BootClock,
        *,
        nats: Callable[[], bool],
        link: Callable[[], str],
        redis: Callable[[], bool] | None,
    ) -> None:
        self._instances = instances
        self._tally = tally
        self._clock = clock
        self._nats = nats
        self._link = link
        self._redis = redis

    @property
    def link(self) -> str:
        """Return the transport to the authority that is used now: `nats` or `http`."""
        return self._link()

    def collect(self) -> Iterable[Metric]:
        """Yield every counter, histogram and gauge."""
        for name, text in COUNTERS.items():
            yield CounterMetricFamily(_PREFIX + name, text, value=getattr(self._tally, name))
        yield self._collect_denials()
        yield from self._collect_links()
        yield from self._collect_histograms()
        for name, text, value in self._collect_gauges():
            yield GaugeMetricFamily(_PREFIX + name, text, value=value)

    def _collect_denials(self) -> Metric:
        family = CounterMetricFamily(
            f"{_PREFIX}denials",
            "Denials sent over the socket, by reason. Denials from a workload's own memory are not "
            "counted.",
            labels=["reason"],
        )
        for reason, number in sorted(self._tally.denials.items()):
            family.add_metric([reason], number)
        return family

    def _collect_links(self) -> Iterator[Metric]:
        current, counts = self._link(), self._tally.carried
        now = GaugeMetricFamily(
            f"{_PREFIX}link",
            "The transport to the authority that is used now: 1, else 0.",
            labels=["link"],
        )
        messages = CounterMetricFamily(
            f"{_PREFIX}carried",
            "Messages that reached the authority, by transport.",
            labels=["link"],
        )
        for route in ROUTES:
            now.add_metric([route], route == current)
            messages.add_metric([route], counts.get(route, 0))
        yield now
        yield messages

    def _collect_histograms(self) -> Iterator[Metric]:
        for name, text, histogram in (
            (
                "push_seconds",
                "Time from the commit of an event to its application here, over NATS, at most.",
                self._tally.pushes_s,
            ),
            ("look_seconds", "Time of a look-up at an authority.", self._tally.looks_s),
        ):
            yield HistogramMetricFamily(
                _PREFIX + name, text, buckets=histogram.cumulative(), sum_value=histogram.sum_s
            )

    def _collect_gauges(self) -> Iterator[tuple[str, str, float]]:
        view = self._instances.current.view
        left_ns = view.leases.ends_ns - self._clock.boottime_ns()
        applied, awaited = (view.applied.seq if view.applied else 0), view.leases.awaited_seq
        yield "lease_left_seconds", "Time until every check is denied.", max(0, left_ns) / NS_PER_S
        yield "applied_seq", "Seq of the last event applied.", applied
        yield (
            "missing_events",
            "Events known to exist and not applied.",
            max(0, (awaited or applied) - applied),
        )
        yield "records", "Records in memory.", len(view.records)
        yield "nats_connected", "1 if NATS is connected, else 0.", self._nats()
        if self._redis is not None:
            yield "redis_connected", "1 if Redis is connected, else 0.", self._redis()
