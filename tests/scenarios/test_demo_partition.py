"""`rescind demo partition` cuts one sidecar off for real, and measures what it claims."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import demos


@pytest.fixture
def folder() -> Iterator[Path]:
    """Create a temporary folder, whose name is short enough for sockets, and delete it later."""
    path = Path(tempfile.mkdtemp(prefix="cut-"))
    yield path
    shutil.rmtree(path)


def test_no_call_that_began_after_the_receipt_was_accepted_anywhere(folder: Path) -> None:
    outcome = demos.outcome(folder, "partition")
    lease_over_ms = outcome["cut_ms"] + 900 * outcome["term_s"]
    assert outcome["cut_ms"] < 0 < lease_over_ms < outcome["receipt_ms"] < outcome["healed_ms"]
    for lane in outcome["services"]:
        assert lane["began_after_receipt"] > 0
        assert lane["accepted_after_receipt"] == 0
        assert lane["last_accepted_ms"] < outcome["receipt_ms"]
        if not lane["cut_off"]:
            assert lane["outcome"] == "acknowledged"
            assert lane["first_revoked_ms"] < lease_over_ms
            assert lane["reasons"] == ["revoked"]
            assert lane["other_denied"] == 0
    (alone,) = [lane for lane in outcome["services"] if lane["cut_off"]]
    assert alone["outcome"] == "lapsed"
    assert 0 < alone["last_accepted_ms"] < lease_over_ms
    assert alone["reasons_while_cut"] == ["no_lease"]
    assert alone["first_revoked_ms"] > outcome["healed_ms"]
    assert alone["other_accepted_again_ms"] > outcome["healed_ms"]
    assert list(folder.iterdir()) == []
