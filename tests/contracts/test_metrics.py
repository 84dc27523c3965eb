"""The port Metrics, whose one adapter is Prometheus's: each method counts what it is told."""

import inspect
from collections.abc import Callable, Mapping

import pytest

from rescind_authority.ports.metrics import Metrics
from rescind_authority.prometheus import PrometheusMetrics

Samples = Mapping[str, float]

CALLS: Mapping[str, tuple[Callable[[Metrics], None], Samples]] = {
    "request": (
        lambda metrics: metrics.request(method="GET", route="/v1/fleet", status=200),
        {'requests_total{method="GET",route="/v1/fleet",status="200"}': 1},
    ),
    "committed": (
        lambda metrics: metrics.committed(events=3, seconds=0.25),
        {
            "batch_events_sum": 3,
            "batch_events_count": 1,
            "commit_seconds_sum": 0.25,
            "commit_seconds_count": 1,
        },
    ),
    "commit_failed": (lambda metrics: metrics.commit_failed(), {"failed_commits_total": 1}),
    "unanswered": (
        lambda metrics: metrics.unanswered(subject="rescind.v1.since", outcome="overloaded"),
        {'unanswered_requests_total{outcome="overloaded",subject="rescind.v1.since"}': 1},
    ),
    "heartbeats": (
        lambda metrics: metrics.heartbeats(granted=5, refused=2),
        {'heartbeats_total{outcome="granted"}': 5, 'heartbeats_total{outcome="refused"}': 2},
    ),
    "set_back": (lambda metrics: metrics.set_back(4), {"ledger_set_back_total": 4}),
    "resolves": (
        lambda metrics: metrics.resolves(found=6, unknown=1, seconds=0.5),
        {
            'resolves_total{outcome="found"}': 6,
            'resolves_total{outcome="unknown"}': 1,
            "resolve_seconds_sum": 0.5,
            "resolve_seconds_count": 1,
        },
    ),
    "shared": (
        lambda metrics: metrics.shared(written=7, lost=2),
        {
            'shared_records_total{outcome="written"}': 7,
            'shared_records_total{outcome="lost"}': 2,
        },
    ),
    "used": (
        lambda metrics: metrics.used(written=8, lost=3),
        {'used_tokens_total{outcome="written"}': 8, 'used_tokens_total{outcome="lost"}': 3},
    ),
    "marked": (lambda metrics: metrics.marked(9), {"sweep_rows_total": 9}),
    "refusal_not_audited": (
        lambda metrics: metrics.refusal_not_audited(),
        {"refusals_not_audited_total": 1},
    ),
    "row_refused": (lambda metrics: metrics.row_refused(), {"rows_refused_total": 1}),
    "unannounced": (lambda metrics: metrics.unannounced(), {"unannounced_batches_total": 1}),
}
"""Each method that counts, a call of it, and the samples that the call adds to."""

OTHERS = {"watch", "render"}


def samples(metrics: Metrics) -> dict[str, float]:
    """Read all samples except buckets and times of creation."""
    found = dict[str, float]()
    for line in metrics.render().decode().splitlines():
        name, _, value = line.rpartition(" ")
        if not line.startswith("#") and "_bucket{" not in name and "_created" not in name:
            found[name.removeprefix("rescind_authority_")] = float(value)
    return found


@pytest.fixture
def metrics() -> Metrics:
    return PrometheusMetrics()


def test_every_method_of_the_port_is_tried_here() -> None:
    methods = {name for name, _ in inspect.getmembers(Metrics, inspect.isfunction)}
    assert {each for each in methods if not each.startswith("_")} == CALLS.keys() | OTHERS


@pytest.mark.parametrize("method", CALLS)
def test_a_call_adds_what_it_is_told_and_to_nothing_else(metrics: Metrics, method: str) -> None:
    call, expected = CALLS[method]
    before = samples(metrics)
    for times in (1, 2):
        call(metrics)
        after = samples(metrics)
        added = {
            name: value - before.get(name, 0)
            for name, value in after.items()
            if value != before.get(name, 0)
        }
        assert added == {name: times * value for name, value in expected.items()}


def test_a_watched_number_is_read_at_each_scrape(metrics: Metrics) -> None:
    numbers = iter([3.0, 4.0])
    metrics.watch("leases", "Leases granted here.", lambda: next(numbers))
    assert [samples(metrics)["leases"] for _ in range(2)] == [3.0, 4.0]


def test_the_metrics_of_two_processes_are_apart() -> None:
    one, two = PrometheusMetrics(), PrometheusMetrics()
    one.marked(1)
    assert (samples(one)["sweep_rows_total"], samples(two)["sweep_rows_total"]) == (1, 0)


def test_metrics_are_rendered_with_a_help_text_each(metrics: Metrics) -> None:
    text = metrics.render().decode()
    named = {line.split()[2] for line in text.splitlines() if line.startswith("# HELP")}
    typed = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert named == typed
    assert all(name.startswith("rescind_authority_") for name in named)
