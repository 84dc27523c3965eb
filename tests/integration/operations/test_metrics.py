"""What Prometheus scrapes: well named, explained, moving; alerts and dashboard use nothing else."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx2
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from tests.integration.operations.conftest import System
from tests.support.eventually import eventually_blocking

from rescind_cli.canary.metrics import CanaryMetrics
from rescind_cli.canary.probe import RoundResult, VerifierDenial

DEPLOY = Path(__file__).parents[3] / "deploy"
NAME = re.compile(r"\brescind_(?:authority|canary|sidecar)_[a-z0-9_]+")
UNITS = {"milliseconds", "ms", "us", "ns", "minutes"}


def scraped(url: str) -> dict[str, Metric]:
    answer = httpx2.get(f"{url}/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {each.name: each for each in text_string_to_metric_families(answer.text)}


def both(system: System) -> dict[str, Metric]:
    return scraped(system.ready["authority"]) | scraped(system.ready["sidecars"][0]["http"])


def value(system: System, sample: str, **labels: str) -> float:
    return sum(
        each.value
        for family in both(system).values()
        for each in family.samples
        if each.name == sample and labels.items() <= each.labels.items()
    )


def series(system: System) -> Iterator[str]:
    """Name every series; a labelled counter has none before it is first used."""
    for family in both(system).values():
        yield from (each.name for each in family.samples)
        if family.type == "counter":
            yield f"{family.name}_total"


def test_names_follow_the_conventions_and_each_has_help(system: System) -> None:
    for family in both(system).values():
        assert NAME.fullmatch(family.name), family.name
        assert family.documentation.endswith("."), family.name
        assert not UNITS & set(family.name.split("_")), family.name
        if family.type == "histogram":
            assert family.name.endswith(("_seconds", "_events")), family.name


def test_the_values_of_metrics_follow_what_happens(system: System) -> None:
    watched = (
        "rescind_authority_commit_seconds_count",
        "rescind_authority_head_seq",
        "rescind_authority_resolve_seconds_count",
        "rescind_sidecar_applied_seq",
        "rescind_sidecar_events_pushed_total",
        "rescind_sidecar_look_seconds_count",
        "rescind_sidecar_push_seconds_count",
    )
    before = {name: value(system, name) for name in watched}
    denials = value(system, "rescind_sidecar_denials_total", reason="revoked")
    issued = system.issue("agent:measured")
    assert system.rescind("check", stdin=issued["token"]).returncode == 0
    assert system.rescind("revoke", f"token:{issued['token_id']}").returncode == 0
    eventually_blocking(lambda: system.rescind("check", stdin=issued["token"]).returncode == 1)
    assert {name for name in watched if value(system, name) <= before[name]} == set()
    assert value(system, "rescind_sidecar_denials_total", reason="revoked") > denials
    assert 0 < value(system, "rescind_sidecar_lease_left_seconds") <= 10
    for name in ("authority_nats", "authority_postgres", "sidecar_nats", "sidecar_redis"):
        assert value(system, f"rescind_{name}_connected") == 1


def flown() -> set[str]:
    """Name the series that the canary publishes; `integration/cli/test_canary` sees it serve."""
    metrics = CanaryMetrics()
    metrics.observe(RoundResult("rev_1", 1.0, (VerifierDenial("a", "b", "lapsed", 1.0),), 0, ()))
    return {sample.name for each in metrics.registry.collect() for sample in each.samples}


def test_alerts_name_only_metrics_that_exist(system: System) -> None:
    text = (DEPLOY / "prometheus" / "alerts.yaml").read_text(encoding="utf-8")
    named = set(NAME.findall(text))
    assert len(named) > 5
    canary = {name for name in named if name.startswith("rescind_canary_")}
    assert named - canary <= set(series(system))
    assert canary <= flown()


def test_the_dashboard_draws_only_metrics_that_exist(system: System) -> None:
    dashboard = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text(encoding="utf-8"))
    drawn = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    for expression in drawn:
        named = set(NAME.findall(expression))
        assert named, expression
        assert named <= set(series(system)), expression
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_health_distinguishes_alive_from_ready(system: System) -> None:
    for url in (system.ready["authority"], system.ready["sidecars"][0]["http"]):
        assert httpx2.get(f"{url}/healthz").status_code == 200
        assert httpx2.get(f"{url}/readyz").status_code == 200
