"""`rescind demo agents`: a rogue and its descendants are narrowed and killed; no other agent is."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import demos


@pytest.fixture
def folder() -> Iterator[Path]:
    """Create a temporary folder, whose name is short enough for sockets, and delete it later."""
    path = Path(tempfile.mkdtemp(prefix="agents-"))
    yield path
    shutil.rmtree(path)


def test_only_the_rogue_agent_and_its_descendants_are_stopped(folder: Path) -> None:
    outcome = demos.outcome(folder, "agents")
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
    assert list(folder.iterdir()) == []


def test_the_text_output_shows_the_agents_over_time(folder: Path) -> None:
    said = demos.shown(folder, "agents")
    rows = {line.split()[0]: line for line in said.splitlines() if "++" in line}
    assert "x" not in rows["scribe"]
    assert rows["fetcher"].rstrip().endswith("xxx")
    assert said.count("yes  ") == 6
