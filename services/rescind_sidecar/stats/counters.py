"""The counters of the use cases, for the metrics. Plain numbers cost a check nothing."""

from dataclasses import dataclass, field

from rescind_sidecar.stats.histogram import Histogram


@dataclass(slots=True)
class Counters:
    """The counts since the process began."""

    events_pushed: int = 0
    events_repaired: int = 0
    messages_refused: int = 0
    instances_ended: int = 0
    enrolments_refused: int = 0
    heartbeats: int = 0
    heartbeats_lost: int = 0
    acknowledgements: int = 0
    looks_from_memory: int = 0
    looks_in_grace: int = 0
    looks_at_authority: int = 0
    looks_unanswered: int = 0
    forgeries: int = 0
    looks_at_redis: int = 0
    redis_absent: int = 0
    redis_stale: int = 0
    redis_refused: int = 0
    looks_known_unknown: int = 0
    looks_over_budget: int = 0
    connections_refused: int = 0
    http_workers_restarted: int = 0
    grpc_workers_restarted: int = 0
    uses_reported: int = 0
    uses_lost: int = 0
    link_changes: int = 0
    carried: dict[str, int] = field(default_factory=dict[str, int])
    pushes_s: Histogram = field(default_factory=Histogram)
    looks_s: Histogram = field(default_factory=Histogram)
    denials: dict[str, int] = field(default_factory=dict[str, int])

    def denied(self, reason: str) -> None:
        """Count a denial that was sent to a workload."""
        self.denials[reason] = self.denials.get(reason, 0) + 1
