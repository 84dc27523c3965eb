"""One system for all tests of the command line, started as a user starts it."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support import processes
from tests.support.processes import clean_environment

Rescind = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Run `rescind up`, and return its data directory."""
    directory = tmp_path_factory.mktemp("cli")
    options = ("--data", str(directory), "--port", "0", "--json")
    with processes.running("-m", "rescind_cli", "up", *options, environ=clean_environment()) as run:
        yield directory
        run.process.terminate()
        run.process.wait(30)


@pytest.fixture
def rescind(data: Path) -> Rescind:
    """Run one command as a user of that system, with a text on stdin."""

    def run(*arguments: str, stdin: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
        ended = subprocess.run(
            [sys.executable, "-m", "rescind_cli", *arguments],
            input=stdin,
            env=clean_environment(RESCIND_DATA=str(data)) | settings,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "Traceback" not in ended.stderr
        return ended

    return run
