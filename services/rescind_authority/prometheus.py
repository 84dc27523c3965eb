"""Metrics of the authority for Prometheus (port Metrics)."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_FAST_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class PrometheusMetrics:
    """The metrics of one process, in their own registry."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "rescind_authority_requests",
            "HTTP requests answered.",
            ("method", "route", "status"),
            registry=registry,
        )
        self._batch = Histogram(
            "rescind_authority_batch_events",
            "Events in one commit of the sequencer.",
            buckets=_SIZES,
            registry=registry,
        )
        self._commit = Histogram(
            "rescind_authority_commit_seconds",
            "Time of one transaction of the sequencer.",
            buckets=_FAST_S,
            registry=registry,
        )
        self._heartbeats = Counter(
            "rescind_authority_heartbeats",
            "Heartbeats answered with a lease, or not.",
            ("outcome",),
            registry=registry,
        )
        self._set_back = Counter(
            "rescind_authority_ledger_set_back",
            "Heartbeats of sidecars that have applied what is not in this ledger: it was restored "
            "without a new epoch.",
            registry=registry,
        )
        self._resolves = Counter(
            "rescind_authority_resolves",
            "Look-ups by hash.",
            ("outcome",),
            registry=registry,
        )
        self._shared = Counter(
            "rescind_authority_shared_records",
            "Records left in Redis for the next sidecar, or lost on the way.",
            ("outcome",),
            registry=registry,
        )
        self._used = Counter(
            "rescind_authority_used_tokens",
            "Tokens reported as used, and written to last_used_at, or lost on the way.",
            ("outcome",),
            registry=registry,
        )
        self._unanswered = Counter(
            "rescind_authority_unanswered_requests",
            "Requests of sidecars without an answer: `refused` were not what they claimed to be, "
            "`not_enrolled` carried no MAC of this epoch, `unavailable` could not be answered now, "
            "`overloaded` were too many.",
            ("subject", "outcome"),
            registry=registry,
        )
        self._failed = Counter(
            "rescind_authority_failed_commits",
            "Transactions of the sequencer that did not commit.",
            registry=registry,
        )
        self._resolving = Histogram(
            "rescind_authority_resolve_seconds",
            "Time of one statement that reads records.",
            buckets=_FAST_S,
            registry=registry,
        )
        self._stamped = Counter(
            "rescind_authority_sweep_rows",
            "Tokens stamped as revoked, for lists and counts.",
            registry=registry,
        )
        self._not_audited = Counter(
            "rescind_authority_refusals_not_audited",
            "Refused calls that got no entry in the audit: there were too many.",
            registry=registry,
        )
        self._rows_refused = Counter(
            "rescind_authority_rows_refused",
            "Rows of Postgres that are not as an authority wrote them, and counted for nothing.",
            registry=registry,
        )
        self._unannounced = Counter(
            "rescind_authority_unannounced_batches",
            "Batches not pushed over NATS; heartbeat replies bring them.",
            registry=registry,
        )

    def watch(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        """Publish a number that is read at each scrape."""
        Gauge(f"rescind_authority_{name}", help_text, registry=self._registry).set_function(read)

    def request(self, *, method: str, route: str, status: int) -> None:
        """Count an HTTP request."""
        self._requests.labels(method, route, str(status)).inc()

    def committed(self, *, events: int, seconds: float) -> None:
        """Count a commit of the sequencer."""
        self._batch.observe(events)
        self._commit.observe(seconds)

    def commit_failed(self) -> None:
        """Count a transaction of the sequencer that did not commit."""
        self._failed.inc()

    def unanswered(self, *, subject: str, outcome: str) -> None:
        """Count a request of a sidecar that got no answer."""
        self._unanswered.labels(subject, outcome).inc()

    def heartbeats(self, *, granted: int, refused: int) -> None:
        """Count heartbeats."""
        self._heartbeats.labels("granted").inc(granted)
        self._heartbeats.labels("refused").inc(refused)

    def set_back(self, heartbeats: int) -> None:
        """Count heartbeats that prove that the ledger was set back."""
        self._set_back.inc(heartbeats)

    def resolves(self, *, found: int, unknown: int, seconds: float) -> None:
        """Count look-ups that one statement answered."""
        self._resolving.observe(seconds)
        self._resolves.labels("found").inc(found)
        self._resolves.labels("unknown").inc(unknown)

    def shared(self, *, written: int, lost: int) -> None:
        """Count records for Redis."""
        self._shared.labels("written").inc(written)
        self._shared.labels("lost").inc(lost)

    def used(self, *, written: int, lost: int) -> None:
        """Count reports of use."""
        self._used.labels("written").inc(written)
        self._used.labels("lost").inc(lost)

    def marked(self, tokens: int) -> None:
        """Count tokens to which the sweep wrote a revoked mark."""
        self._stamped.inc(tokens)

    def refusal_not_audited(self) -> None:
        """Count a refused call that got no entry in the audit."""
        self._not_audited.inc()

    def row_refused(self) -> None:
        """Count a row that differs from what an authority wrote."""
        self._rows_refused.inc()

    def unannounced(self) -> None:
        """Count a batch that was not pushed."""
        self._unannounced.inc()

    def render(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return generate_latest(self._registry)
