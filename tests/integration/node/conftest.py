"""The example for Node: a copy with its packages, and a system for its services."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support import local_system
from tests.support.documents import ROOT
from tests.support.node_driver import NODE, NodeDriver
from tests.support.processes import clean_environment

from rescind.client import Admin
from rescind.core.secret import Secret

EXAMPLE = ROOT / "deploy" / "examples" / "node"
_NO_NETWORK = re.compile(
    r"npm error code (ENOTFOUND|EAI_AGAIN|ECONN\w+|E(?:SOCKET)?TIMEDOUT|ENETUNREACH|ENOTCACHED)"
)


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the example, and install what its lock names.

    npm keeps what it downloaded in its cache (`~/.npm`), so only the first run needs the network.
    """
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("npm and node are not installed")
    folder = tmp_path_factory.mktemp("node") / "example"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("node_modules"))
    command = [npm, "ci", "--prefer-offline", "--no-audit", "--no-fund", "--fetch-retries=0"]
    ended = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=100
    )
    if (missing := _NO_NETWORK.search(ended.stderr)) is not None:
        pytest.skip(f"npm has neither a network nor the packages in its cache: {missing[1]}")
    assert ended.returncode == 0, ended.stderr
    return folder


@pytest.fixture
async def node(example: Path, tmp_path: Path) -> AsyncIterator[NodeDriver]:
    """Run a client in Node, for the socket `search.sock` of this test's folder."""
    async with NodeDriver.running(example, tmp_path / "search.sock") as driver:
        yield driver


@dataclass(frozen=True, slots=True)
class System:
    """A system of `rescind up`: its sidecar's socket, and a client for its administrator."""

    socket: str
    admin: Admin

    def issue(self, subject: str, *scopes: str, audience: tuple[str, ...] = ()) -> str:
        """Issue a token of an agent, by default with the scope `search:read`."""
        granted = scopes or ("search:read",)
        issued = self.admin.issue(subject=subject, kind="agent", scopes=granted, audience=audience)
        assert issued.token is not None
        return issued.token.reveal()


@pytest.fixture(scope="session")
def system(example: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with local_system.up(tmp_path_factory.mktemp("up")) as run:
        ready: Mapping[str, Any] = run.ready
        token = Path(ready["admin_token_file"]).read_text().strip()
        (sidecar,) = ready["sidecars"]
        with Admin(ready["authority"], Secret(token)) as admin:
            yield System(sidecar["socket"], admin)
        assert run.end(signal.SIGTERM) == 0


@pytest.fixture(scope="module", params=["express", "fastify"])
def framework(request: pytest.FixtureRequest) -> str:
    """Return the name of a framework; modules that use it run once for each."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def service(framework: str, example: Path, system: System) -> Iterator[str]:
    """Run the example's service beside the shared system; return its URL."""
    with serving(example, framework, system.socket) as url:
        yield url


@contextmanager
def serving(example: Path, framework: str, socket: str) -> Iterator[str]:
    """Run the example's service on a framework for the block; yield its URL."""
    with subprocess.Popen(
        [NODE, f"{framework}-server.mjs"],
        cwd=example,
        env=clean_environment(RESCIND_SOCKET=socket, PORT="0"),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


@pytest.fixture
def vectors() -> dict[str, str]:
    """Return the environment of `node --test` in the copy."""
    return {**os.environ, "VECTORS": str(ROOT / "tests" / "vectors")}
