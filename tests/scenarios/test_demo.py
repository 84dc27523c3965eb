"""`rescind demo` measures what it claims, on real components, and leaves nothing behind."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import demos
from tests.support.eventually import eventually_blocking
from tests.support.processes import clean_environment

SERVICES = ("search", "mail", "billing")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Create a temporary folder, whose name is short enough for sockets, and delete it later."""
    path = Path(tempfile.mkdtemp(prefix="demo-"))
    yield path
    shutil.rmtree(path)


def started(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "rescind_cli", "demo", *arguments],
        env=clean_environment(TMPDIR=str(folder)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def working_in(folder: Path) -> set[int]:
    """Return the processes whose working directory is inside a folder."""
    found: set[int] = set()
    for process in Path("/proc").iterdir():
        try:
            inside = process.name.isdigit() and (process / "cwd").readlink().is_relative_to(folder)
        except OSError:
            continue
        if inside:
            found.add(int(process.name))
    return found


def command_of(pid: int) -> bytes:
    """Return the command line of a process, or nothing of one that has ended."""
    try:
        return Path("/proc", str(pid), "cmdline").read_bytes()
    except OSError:
        return b""


def test_every_claim_of_the_demo_is_measured(folder: Path, tmp_path: Path) -> None:
    picture = tmp_path / "demo.svg"
    outcome = demos.outcome(folder, "--svg", str(picture))
    assert f"{outcome['calls']:,} calls" in picture.read_text(encoding="utf-8")
    assert [lane["service"] for lane in outcome["services"]] == list(SERVICES)
    for lane in outcome["services"]:
        assert lane["last_accepted_ms"] < lane["first_denied_ms"]
        assert lane["acknowledged_ms"] > 0, "the event's time is read before the commit"
        assert lane["began_after_acknowledgement"] > 0
        assert lane["accepted_after_acknowledgement"] == 0
        assert lane["other_calls"] > 0
        assert lane["other_denied"] == 0
        assert lane["reasons"] == ["revoked"]
    assert list(folder.iterdir()) == []
    assert working_in(folder) == set()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_demo_and_leaves_nothing(folder: Path, number: signal.Signals) -> None:
    with started(folder) as demo:
        # Somewhere in its start: the first child is there, and most are not.
        eventually_blocking(lambda: working_in(folder), deadline_s=30)
        os.kill(demo.pid, number)
        assert demo.wait(30) == 128 + number
    assert working_in(folder) == set()
    assert list(folder.iterdir()) == []


def test_a_part_that_dies_ends_the_demo_and_is_named(folder: Path) -> None:
    def agent() -> list[int]:
        return [pid for pid in working_in(folder) if b"rescind_lab.demo.agent" in command_of(pid)]

    with started(folder) as demo:
        (pid,) = eventually_blocking(agent, deadline_s=60)
        os.kill(pid, signal.SIGKILL)
        said, complained = demo.communicate(timeout=60)
    assert demo.returncode == 1
    assert said == ""
    assert "the demo's agent was killed with SIGKILL" in complained
    assert "Traceback" not in complained
    assert working_in(folder) == set()
    assert list(folder.iterdir()) == []


def test_a_folder_that_is_too_deep_is_reported_in_plain_words(folder: Path) -> None:
    deep = folder / ("d" * 60)
    deep.mkdir()
    with started(deep) as demo:
        _, complained = demo.communicate(timeout=30)
    assert demo.returncode == 1
    assert "TMPDIR" in complained
    assert "Traceback" not in complained


@pytest.mark.parametrize("scenario", ["agents", "partition"])
def test_a_picture_of_another_scenario_is_refused_before_anything_starts(
    folder: Path, tmp_path: Path, scenario: str
) -> None:
    picture = tmp_path / "demo.svg"
    ran = demos.run(folder, scenario, "--svg", str(picture))
    assert (ran.returncode, picture.exists()) == (2, False)
    assert f"leave out {scenario!r}" in ran.stderr
