"""`rescind demo partition` cuts one sidecar off for real, and measures what it claims."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.processes import clean_environment


@pytest.fixture
def folder() -> Iterator[Path]:
    """Be a temporary folder of our own, with a name that is short enough for sockets."""
    path = Path(tempfile.mkdtemp(prefix="cut-"))
    yield path
    shutil.rmtree(path)


def demo(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rescind_cli", "demo", *arguments],
        env=clean_environment(TMPDIR=str(folder)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_no_call_that_began_after_the_receipt_was_accepted_anywhere(folder: Path) -> None:
    ran = demo(folder, "partition", "--json")
    assert ran.returncode == 0, ran.stderr or ran.stdout
    outcome = json.loads(ran.stdout)
    assert outcome["ok"]
    assert all(claim["holds"] for claim in outcome["claims"])
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
    assert "rsc_" not in ran.stdout + ran.stderr
    assert list(folder.iterdir()) == []
