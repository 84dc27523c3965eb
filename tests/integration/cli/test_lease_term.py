"""`rescind term` against the real system."""

import json

from tests.integration.cli.conftest import Rescind


def test_the_term_is_shown_and_changed_while_everything_runs(rescind: Rescind) -> None:
    assert "10 s" in rescind("term").stdout
    changed = rescind("term", "set", "12.5", "--json")
    assert changed.returncode == 0, changed.stderr
    assert json.loads(changed.stdout) == {
        "grant_term_ms": 12_500,
        "wait_term_ms": 12_500,
        "target_term_ms": 12_500,
        "settled": True,
    }
    begun = rescind("term", "set", "10", "--no-wait", "--json")
    assert json.loads(begun.stdout)["settled"] is False


def test_a_term_outside_the_allowed_range_is_refused(rescind: Rescind) -> None:
    for wrong in ("0", "86401", "soon"):
        assert rescind("term", "set", wrong).returncode == 2
