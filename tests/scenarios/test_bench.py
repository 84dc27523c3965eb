"""`rescind bench --quick` measures every row on real components; speed itself is never asserted."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.processes import clean_environment

pytest.importorskip("jwt")
pytest.importorskip("matplotlib")

from rescind_lab.bench import table

FULL_ONLY = "10000000"  # lines that a quick run has no time for


@pytest.fixture
def folder() -> Iterator[Path]:
    """Create a temporary folder, whose name is short enough for sockets, and delete it later."""
    path = Path(tempfile.mkdtemp(prefix="bench-"))
    yield path
    shutil.rmtree(path)


def bench(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rescind_cli", "bench", "--quick", *arguments],
        env=clean_environment(TMPDIR=str(folder)),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.parametrize(
    "names",
    [
        ("enforced", "fleet"),
        ("check", "events", "sight", "http"),
        ("introspect", "grpc", "proxy", "flood"),
        ("apply", "commit", "leases"),
    ],
)
def test_each_row_gives_all_its_lines(folder: Path, names: tuple[str, ...]) -> None:
    done = bench(folder, "--json", *names)
    assert done.returncode == 0, done.stderr
    lines = json.loads(done.stdout)["lines"]
    rows = [row for row in table.select_rows(names) if row.name != "proxy" or shutil.which("nginx")]
    assert list(lines) == [line.key for row in rows for line in row.lines]
    for line in lines.values():
        assert line["ours"]["best"] >= 0  # in so short a time nothing may be asked for again
        assert (line["ratio"] is None) == (line["against"] is None)
    assert "rsc_" not in done.stdout + done.stderr
    assert list(folder.iterdir()) == []


def test_memory_and_the_hot_set_are_shown_in_a_table_and_a_picture(folder: Path) -> None:
    picture = folder / "ratios.png"
    done = bench(folder, "memory", "hot", "--plot", str(picture))
    assert done.returncode == 0, done.stderr
    for row in table.select_rows(["memory", "hot"]):
        for line in row.lines:
            assert (line.label in done.stdout) == (FULL_ONLY not in line.key)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert list(folder.iterdir()) == [picture]


def test_an_unknown_row_is_a_usage_error(folder: Path) -> None:
    done = bench(folder, "nothing")
    assert done.returncode == 2
    assert "nothing" in done.stderr
