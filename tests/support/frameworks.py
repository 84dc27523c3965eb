"""The examples of web frameworks in deploy/examples, on their real servers beside a real sidecar.

Each example serves the same routes: `/` needs `search:read` and answers with the subject, `/admin`
needs `admin:write`, and `/stream` sends one event and then waits. A preflight of `/` passes. An
example may also serve `/websocket`, which needs `search:read`.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx2
from tests.support.documents import ROOT
from tests.support.eventually import eventually_blocking
from tests.support.free_ports import free_port
from tests.support.processes import clean_environment
from tests.support.sidecar import LedgerInMemory, RunningSidecar, running

EXAMPLES = ROOT / "deploy" / "examples"
_GUNICORN = (
    *("gunicorn", "--bind", "127.0.0.1:{port}", "--threads", "8"),
    *("--graceful-timeout", "1", "--no-control-socket"),
)
_UVICORN = ("uvicorn", "--host", "127.0.0.1", "--port", "{port}")


@dataclass(frozen=True, slots=True)
class Framework:
    """An example, and how to start its server (`python -m COMMAND`) in its folder.

    The folder has the name of the framework if no other is given. `problems` is False if refusals
    by the framework itself have its own form. `websocket` is True if the example serves one.
    """

    name: str
    command: tuple[str, ...]
    problems: bool = True
    websocket: bool = False
    folder: str = ""

    @property
    def directory(self) -> Path:
        """The directory of the example."""
        return EXAMPLES / (self.folder or self.name)


FRAMEWORKS = (
    Framework("fastapi", (*_UVICORN, "app:app"), websocket=True),
    Framework("flask", (*_GUNICORN, "app:app")),
    Framework("django", (*_GUNICORN, "app:application")),
    Framework("django-async", (*_UVICORN, "--lifespan", "off", "app:application")),
    Framework("drf", (*_GUNICORN, "app:application"), problems=False),
    Framework("litestar", (*_UVICORN, "app:app"), websocket=True),
    Framework(
        "aiohttp",
        ("aiohttp.web", "--hostname", "127.0.0.1", "--port", "{port}", "app:build"),
        websocket=True,
    ),
    Framework(
        "werkzeug",
        ("flask", "--app", "app", "run", "--port", "{port}"),
        folder="flask",
    ),
    Framework("wsgi", (*_GUNICORN, "app:application")),
)


@dataclass(frozen=True, slots=True)
class ServedExample:
    """An example that is running, and the sidecar beside it."""

    framework: Framework
    link: LedgerInMemory
    sidecar: RunningSidecar
    port: int
    log: Path

    def issue(self, subject: str, *scopes: str, audience: tuple[str, ...] = ()) -> str:
        """Issue a token, with `search:read` unless other scopes are given."""
        return self.link.issue(subject, scopes=scopes or ("search:read",), audience=audience)

    def revoke(self, *selector: str) -> None:
        """Revoke tokens, as an event that reaches the sidecar at once."""
        self.sidecar.push(self.link.revoke(*selector))

    def narrow(self, *selector: str, remove: str) -> None:
        """Remove a scope from tokens."""
        self.sidecar.push(self.link.revoke(*selector, effect="narrow", scopes=(remove,)))

    def call(self, path: str, *authorization: str, method: str = "GET") -> httpx2.Response:
        """Send one request with these values of `Authorization`."""
        headers = [("Authorization", each) for each in authorization]
        return httpx2.request(method, self.url(path), headers=headers, timeout=10)

    def url(self, path: str, scheme: str = "http") -> str:
        """Return the URL of a path."""
        return f"{scheme}://127.0.0.1:{self.port}{path}"

    def end_lease(self) -> None:
        """End the sidecar's lease at once and for good: for the last test of a module."""
        self.sidecar.do(self.sidecar.instances.current.view.table.retire)


@contextmanager
def serving(framework: Framework, directory: Path) -> Iterator[ServedExample]:
    """Run an example with its server for the block."""
    port, link, log = free_port(), LedgerInMemory(), directory / "log"
    command = [each.format(port=port) for each in framework.command]
    with running(directory / "search.sock", link) as sidecar, log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=framework.directory,
            env=clean_environment(RESCIND_SOCKET=str(sidecar.path)),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        example = ServedExample(framework, link, sidecar, port, log)
        try:
            eventually_blocking(lambda: _answers(example, process))
            yield example
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def _answers(example: ServedExample, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, example.log.read_text()
    try:
        return example.call("/").status_code == 401
    except httpx2.TransportError:
        return False
