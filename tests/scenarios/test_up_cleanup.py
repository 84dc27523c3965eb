"""`rescind up` leaves no process or socket, whichever process is killed, and says what failed."""

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.support import processes
from tests.support.eventually import eventually_blocking
from tests.support.local_system import up
from tests.support.processes import Run, clean_environment, gone, mode


def parts(run: Run) -> dict[str, int]:
    """Return the pid of every part by its name."""
    ready: dict[str, Any] = dict(run.ready)
    services: dict[str, int] = ready["pids"]
    return services | {each["service"]: each["pid"] for each in ready["sidecars"]}


def assert_nothing_left(directory: Path, pids: dict[str, int]) -> None:
    for pid in pids.values():
        eventually_blocking(partial(gone, pid))
    eventually_blocking(lambda: not processes.users(directory))
    assert processes.sockets(directory) == []


def test_the_ready_line_and_the_env_file_name_every_address(tmp_path: Path) -> None:
    with up(tmp_path, sidecars=2) as run:
        assert set(run.ready) >= {"authority", "admin_token_file", "nats", "redis"}
        assert "console" not in run.ready, "there is no page to open yet"
        assert set(parts(run)) >= {"service-1", "service-2"}
        for secret in ("env", "admin-token", "edge-key"):
            assert mode(tmp_path / secret) == 0o600
        settings = (tmp_path / "env").read_text()
        assert f"RESCIND_URL={run.ready['authority']}\n" in settings
        assert run.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_all_of_it_with_exit_code_0(tmp_path: Path, number: signal.Signals) -> None:
    with up(tmp_path, sidecars=2) as run:
        assert run.end(number) == 0
        assert_nothing_left(tmp_path, parts(run))


def test_killing_the_parent_ends_every_part(tmp_path: Path) -> None:
    with up(tmp_path, sidecars=2) as run:
        run.end(signal.SIGKILL)
        assert_nothing_left(tmp_path, parts(run))


@pytest.mark.parametrize("part", ["authority", "nats", "postgres", "redis", "service-1"])
def test_killing_one_part_stops_the_rest_and_the_part_is_named(tmp_path: Path, part: str) -> None:
    with up(tmp_path, sidecars=2) as run:
        pids = parts(run)
        os.kill(pids[part], signal.SIGKILL)
        assert run.process.wait(30) == 1
        assert run.process.stderr is not None
        said = run.process.stderr.read().decode()
        assert "was killed with SIGKILL" in said
        assert "Traceback" not in said
        assert_nothing_left(tmp_path, pids)


def test_a_second_start_carries_on_with_the_same_data(tmp_path: Path) -> None:
    kept: list[str] = []
    for _ in range(2):
        with up(tmp_path) as run:
            kept.append((tmp_path / "admin-token").read_text())
            assert run.end(signal.SIGTERM) == 0
    assert kept[0] == kept[1]


def test_a_start_right_after_a_kill_waits_for_what_is_left(tmp_path: Path) -> None:
    with up(tmp_path) as killed:
        killed.end(signal.SIGKILL)
        with up(tmp_path) as again:
            assert again.end(signal.SIGTERM) == 0
        assert_nothing_left(tmp_path, parts(killed))


def test_two_at_once_on_one_directory_are_refused(tmp_path: Path) -> None:
    with up(tmp_path) as run:
        second = subprocess.run(
            [sys.executable, "-m", "rescind_cli", "up", "--data", str(tmp_path), "--port", "0"],
            capture_output=True,
            check=False,
            env=clean_environment(),
            text=True,
            timeout=30,
        )
        assert second.returncode == 1
        assert f"pid {run.process.pid}" in second.stderr
        assert run.end(signal.SIGTERM) == 0


def test_a_start_that_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "rescind_cli", "up", "--data", str(tmp_path), "--port", "0"],
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    ) as process:
        eventually_blocking((tmp_path / "logs" / "nats.log").exists)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    assert_nothing_left(tmp_path, {})


def test_standard_output_is_the_ready_line_alone(tmp_path: Path) -> None:
    with up(tmp_path, sidecars=0) as run:
        assert run.end(signal.SIGTERM) == 0
        assert run.process.stdout is not None
        assert run.process.stdout.read() == b""
