"""`rescind doctor` on a sidecar that missed a heartbeat: the rule is the authority's."""

from importlib.metadata import version
from typing import Any

import pytest

from rescind_cli.doctor import sidecars
from rescind_cli.doctor.authority import Fleet
from rescind_cli.doctor.findings import Level

INSTANCE = bytes(16)


@pytest.mark.parametrize("overdue", [False, True])
def test_a_sidecar_is_overdue_if_the_fleet_reports_it(*, overdue: bool) -> None:
    known: Any = {"overdue": overdue, "version": version("rescind")}
    greeting: Any = type("Greeting", (), {"instance": INSTANCE})
    fleet = Fleet(1, {INSTANCE.hex(): known})
    found = list(sidecars._compare_with_fleet("search", greeting, fleet, leased=True, refused=None))
    assert [each.level for each in found] == [Level.WARNING] * overdue
    assert all("rescind term set" in each.advice for each in found)
