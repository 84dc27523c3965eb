"""One system with two sidecars for the stories that share it, and a verifier beside each."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support import local_system
from tests.support.processes import clean_environment

from rescind import Denied, Verifier
from rescind.client import Admin
from rescind.core.secret import Secret


@dataclass(frozen=True, slots=True)
class System:
    directory: Path
    ready: Mapping[str, Any]

    def run(self, *arguments: str, code: int = 0, stdin: str = "") -> dict[str, Any]:
        ended = self.rescind(*arguments, "--json", stdin=stdin)
        assert ended.returncode == code, ended.stderr
        answer: dict[str, Any] = json.loads(ended.stdout or ended.stderr)
        return answer

    def usage(self, *arguments: str) -> str:
        """Run what is called wrongly, and give what it says of that."""
        ended = self.rescind(*arguments)
        assert ended.returncode == 2, ended.stderr
        return ended.stderr

    def shown(self, *arguments: str, stdin: str = "") -> str:
        """Run a command, and give what a person sees of it."""
        ended = self.rescind(*arguments, stdin=stdin)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def made(self, *arguments: str, stdin: str = "", **settings: str) -> tuple[str, str]:
        """Run what makes a token; give it and its id."""
        run = self.rescind(*arguments, "--json", stdin=stdin, **settings)
        assert run.returncode == 0, run.stderr
        issued = json.loads(run.stdout)
        return issued["token"], issued["token_id"]

    def rescind(
        self, *arguments: str, stdin: str = "", **settings: str
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "rescind_cli", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env=clean_environment(RESCIND_DATA=str(self.directory), **settings),
        )

    def issue(self, subject: str, *more: str) -> dict[str, Any]:
        return self.run("issue", "--subject", subject, "--kind", "agent", *more)

    def admin(self) -> Admin:
        token = Path(self.ready["admin_token_file"]).read_text().strip()
        return Admin(self.ready["authority"], Secret(token))


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    directory = tmp_path_factory.mktemp("up")
    with local_system.up(directory, sidecars=2) as run:
        yield System(directory, run.ready)
        assert run.end(signal.SIGTERM) == 0


@pytest.fixture
def verifiers(system: System) -> Iterator[list[Verifier]]:
    verifiers = [Verifier.attach(each["socket"], timeout_s=5) for each in system.ready["sidecars"]]
    yield verifiers
    for verifier in verifiers:
        verifier.close()


def answers(verifiers: list[Verifier], token: str, *require: str) -> set[str]:
    """Say what the services make of it, without repeats."""
    verdicts = [verifier.check(token, require=set(require)) for verifier in verifiers]
    return {each.reason if isinstance(each, Denied) else "accepted" for each in verdicts}
