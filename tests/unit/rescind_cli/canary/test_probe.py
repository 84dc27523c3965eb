"""The canary, over a fake: what it says when everything holds, and when something does not."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from rescind.client.admin import RevocationDetails, TokenProperties
from rescind.client.admin.calls import Issued
from rescind.core.secret import Secret
from rescind.core.verdict import Denied, Reason, Verdict
from rescind.testing import FakeVerifier
from rescind_cli.canary.metrics import CanaryMetrics
from rescind_cli.canary.probe import Canary, RoundResult


class Authority:
    """An authority of one sidecar: it writes what receipt it is told to."""

    def __init__(
        self,
        verifier: FakeVerifier,
        *,
        revokes: bool = True,
        receipt: bool = True,
        besides: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self._verifier = verifier
        self._revokes = revokes
        self._receipt = receipt
        self._besides = besides

    def issue(self, *, subject: str, kind: str, ttl: float) -> Issued:
        issued = self._verifier.issue(subject=subject)
        return Issued(Secret(issued.token), issued.token_id, cast("TokenProperties", {}))

    def revoke(self, *selector: str, reason: str, wait: bool, timeout: float) -> RevocationDetails:
        assert (reason, wait) == ("canary", True)
        if self._revokes:
            self._verifier.revoke(*selector)
        verifier = {"service": "search", "instance": "a1", "outcome": "lapsed", "latency_ms": 9.5}
        receipt = {"verifiers": [verifier], "grace": [], **self._besides}
        details = {"id": "rev_1"} | ({"receipt": receipt} if self._receipt else {})
        return cast("RevocationDetails", details)


def flown(verifier: FakeVerifier, **how: Any) -> RoundResult:
    return Canary(Authority(verifier, **how), {"search": verifier}).run_round(timeout_s=1)


def count(registry: CollectorRegistry, outcome: str) -> float | None:
    return registry.get_sample_value("rescind_canary_rounds_total", {"outcome": outcome})


def test_a_successful_run_reports_how_long_enforcement_took() -> None:
    found = flown(FakeVerifier())
    assert (found.faults, found.enforced_ms, found.in_grace) == ((), 9.5, 0)
    metrics = CanaryMetrics()
    metrics.observe(found)
    assert count(metrics.registry, "enforced") == 1
    sum_s = metrics.registry.get_sample_value("rescind_canary_enforced_seconds_sum")
    assert sum_s == pytest.approx(0.0095)


def test_a_verifier_that_accepts_after_the_receipt_is_a_fault() -> None:
    found = flown(FakeVerifier(), revokes=False)
    assert [(each.where, "accepted after the receipt" in each.what) for each in found.faults] == [
        ("search", True)
    ]
    metrics = CanaryMetrics()
    metrics.observe(found)
    assert (count(metrics.registry, "faulty"), count(metrics.registry, "enforced")) == (1, None)


def test_a_verifier_that_denies_a_good_token_is_a_fault() -> None:
    verifier = FakeVerifier()
    verifier.suspend("subject:service:rescind-canary")
    faults = flown(verifier).faults
    assert "denied the valid token: suspended" in faults[0].what


def test_without_a_receipt_no_enforcement_is_reported() -> None:
    found = flown(FakeVerifier(), receipt=False)
    assert (found.enforced_ms, found.verifiers) == (None, ())
    metrics = CanaryMetrics()
    metrics.observe(found)
    assert count(metrics.registry, "late") == 1


@pytest.mark.parametrize(
    "besides",
    [
        {"unknown_grace_until": "2026-01-01T00:10:30Z"},
        {"summary": {"grace": 2, "services": [{"slowest_ms": 40.5}]}},
    ],
    ids=["unknown", "counted"],
)
def test_an_accepting_verifier_is_not_a_fault_if_one_may_be_in_grace(
    besides: dict[str, Any],
) -> None:
    found = flown(FakeVerifier(), revokes=False, besides=besides)
    assert found.faults == ()
    summary = besides.get("summary")
    assert (found.enforced_ms, found.in_grace) == ((40.5, 2) if summary else (9.5, 0))


class Deaf:
    """A sidecar without a lease."""

    def check(self, token: str) -> Verdict:
        return Denied(Reason.NO_LEASE)


def test_a_sidecar_without_a_lease_is_a_separate_fault() -> None:
    verifier = FakeVerifier()
    canary = Canary(Authority(verifier), {"search": verifier, "deaf": Deaf()})
    assert {each.where for each in canary.run_round(timeout_s=1).faults} == {"deaf"}
