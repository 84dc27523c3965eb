"""One system for those who operate it, and what it said when it was ready."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support import local_system
from tests.support.processes import clean_environment


@dataclass(frozen=True, slots=True)
class System:
    directory: Path
    ready: Mapping[str, Any]

    def rescind(
        self, *arguments: str, stdin: str = "", **settings: str
    ) -> "subprocess.CompletedProcess[str]":
        """Run one command as a user of that system; a setting that is given wins."""
        ended = subprocess.run(
            [sys.executable, "-m", "rescind_cli", *arguments],
            input=stdin,
            env=clean_environment(RESCIND_DATA=str(self.directory)) | settings,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "Traceback" not in ended.stderr
        return ended

    def json(self, *arguments: str, stdin: str = "", **settings: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(
            self.rescind(*arguments, "--json", stdin=stdin, **settings).stdout
        )
        return document

    def issue(self, subject: str, *more: str) -> dict[str, Any]:
        return self.json("issue", "--subject", subject, "--kind", "agent", *more)

    @property
    def secrets(self) -> list[str]:
        """Everything that must never be printed."""
        password = str(self.ready["nats"]).partition("@")[0].rpartition(":")[2]
        files = ("admin-token", "edge-key")
        return [password, *((self.directory / name).read_text().strip() for name in files)]


@pytest.fixture(scope="package")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    directory = tmp_path_factory.mktemp("operations")
    with local_system.up(directory, sidecars=2) as run:
        yield System(directory, run.ready)
        assert run.end(signal.SIGTERM) == 0


Diagnose = Callable[..., tuple[int, dict[str, dict[str, str]]]]


@pytest.fixture
def diagnose(system: System) -> Diagnose:
    """Run the doctor: its exit code, and its findings by part. No secret may be among them."""

    def run(**settings: str) -> tuple[int, dict[str, dict[str, str]]]:
        ended = system.rescind("doctor", "--json", **settings)
        assert not [secret for secret in system.secrets if secret in ended.stdout + ended.stderr]
        report = json.loads(ended.stdout)
        checks: list[dict[str, str]] = report["checks"]
        assert report["ok"] == (ended.returncode == 0)
        assert all(each["advice"] for each in checks if each["level"] in {"warning", "failed"})
        return ended.returncode, {each["part"]: each for each in checks}

    return run
