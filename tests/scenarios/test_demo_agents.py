"""`rescind demo agents`: a rogue and what it delegated are narrowed and killed; innocents go on."""

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
    path = Path(tempfile.mkdtemp(prefix="agents-"))
    yield path
    shutil.rmtree(path)


def demo(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rescind_cli", "demo", "agents", *arguments],
        env=clean_environment(TMPDIR=str(folder)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_rogue_and_what_it_delegated_are_stopped_and_nobody_else(folder: Path) -> None:
    ran = demo(folder, "--json")
    assert ran.returncode == 0, ran.stderr or ran.stdout
    outcome = json.loads(ran.stdout)
    assert outcome["ok"]
    assert all(claim["holds"] for claim in outcome["claims"])
    hit = {each["agent"]: each for each in outcome["agents"] if each["hit"]}
    assert set(hit) == {"researcher", "reader", "fetcher"}
    for each in hit.values():
        assert each["narrowed_after"] > 0
        assert each["narrowed_accepted_after"] == each["elsewhere_denied_after"] == 0
        assert each["killed_after"] > 0
        assert each["killed_accepted_after"] == 0
        assert each["stream_ms"] > 0
    for each in outcome["agents"]:
        if not each["hit"]:
            assert (each["denied"], each["stream_ms"]) == (0, None)
    assert "rsc_" not in ran.stdout + ran.stderr
    assert list(folder.iterdir()) == []


def test_a_person_sees_the_family_over_time(folder: Path) -> None:
    ran = demo(folder)
    assert ran.returncode == 0, ran.stderr or ran.stdout
    rows = {line.split()[0]: line for line in ran.stdout.splitlines() if "++" in line}
    assert "x" not in rows["scribe"]
    assert rows["fetcher"].rstrip().endswith("xxx")
    assert ran.stdout.count("yes  ") == 6
