"""One system for all tests of the command line, started as a user starts it."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support import local_system
from tests.support.processes import clean_environment

Rescind = Callable[..., "subprocess.CompletedProcess[str]"]


def issue(rescind: Rescind, subject: str, *more: str, kind: str = "agent") -> dict[str, Any]:
    """Issue a token, and return what the command prints of it."""
    ended = rescind("issue", "--subject", subject, "--kind", kind, "--json", *more)
    assert ended.returncode == 0, ended.stderr
    issued: dict[str, Any] = json.loads(ended.stdout)
    return issued


@pytest.fixture(scope="session")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Any]]:
    """Run `rescind up`, and return what it says once it is ready, and its directory."""
    with running_system(tmp_path_factory.mktemp("cli")) as ready:
        yield ready


@pytest.fixture(scope="module")
def own_system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Any]]:
    """Run another system for the tests of a module: for what others would notice."""
    with running_system(tmp_path_factory.mktemp("own")) as ready:
        yield ready


@contextmanager
def running_system(directory: Path, **settings: str) -> Iterator[Mapping[str, Any]]:
    """Run `rescind up` for the block, with settings of its own."""
    with local_system.up(directory, settings=settings) as run:
        yield {**run.ready, "directory": directory}
        run.process.terminate()
        run.process.wait(30)


@pytest.fixture
def data(ready: Mapping[str, Any]) -> Path:
    """Return the data directory of the running system."""
    directory = ready["directory"]
    assert isinstance(directory, Path)
    return directory


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
