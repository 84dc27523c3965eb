"""The programs of docs/integrations/node.md run as they stand there."""

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from tests.integration.node.conftest import EXAMPLE, System
from tests.support.documents import DOCS
from tests.support.eventually import eventually_blocking
from tests.support.free_ports import free_port
from tests.support.node_driver import NODE
from tests.support.processes import clean_environment

from rescind.core.verdict import Reason
from rescind.wire import bearer

_PROGRAM = re.compile(r"^```js\n// (\S+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PROGRAMS = dict(_PROGRAM.findall((DOCS / "integrations" / "node.md").read_text()))


@contextmanager
def started(
    program: str, *, example: Path, socket: str, **settings: str
) -> Iterator["subprocess.Popen[str]"]:
    """Run a program of the page in the copy of the example."""
    (example / program).write_text(PROGRAMS[program])
    environ = clean_environment(RESCIND_SOCKET=socket, **settings)
    with subprocess.Popen(
        [NODE, program], cwd=example, env=environ, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("program", ["express-app.mjs", "fastify-app.mjs"])
def test_a_service_of_the_page_serves_a_caller_with_a_token(
    example: Path, system: System, program: str
) -> None:
    port = free_port()
    header = {"Authorization": f"Bearer {system.issue('agent:bot')}"}
    with (
        started(program, example=example, socket=system.socket, PORT=str(port)),
        httpx2.Client(base_url=f"http://localhost:{port}", trust_env=False) as http,
    ):

        def serves() -> bool:
            try:
                return http.get("/").status_code == 401
            except httpx2.ConnectError:
                return False

        eventually_blocking(serves)
        answer = http.get("/", headers=header)
        assert (answer.status_code, answer.text) == (200, "agent:bot")


def test_the_work_of_the_page_ends_with_its_token(example: Path, system: System) -> None:
    (example / "token").write_text(f"{system.issue('agent:worker')}\n")
    with started("work.mjs", example=example, socket=system.socket) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "allowed: agent:worker\n"
        assert process.stdout.readline() == "working\n"
        system.admin.revoke("subject:agent:worker", reason="a test")
        assert process.stdout.readline() == "stopped: revoked\n"
        assert process.wait(30) == 0


@pytest.mark.parametrize("reason", Reason)
def test_a_refusal_in_node_has_the_detail_of_the_python_middleware(reason: Reason) -> None:
    """The texts are compared here because few of the reasons can be brought about over HTTP."""
    detail = json.loads(bearer.refuse(reason).body)["detail"]
    details = (EXAMPLE / "client" / "refusal.mjs").read_text(encoding="utf-8")
    quote = '"' if "'" in detail else "'"
    assert f"{reason}: {quote}{detail}{quote}," in details
