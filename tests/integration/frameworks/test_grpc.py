"""The examples of gRPC servers, each in a process of its own beside a real sidecar."""

import asyncio
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from tests.support.documents import DOCS
from tests.support.frameworks import EXAMPLES
from tests.support.free_ports import free_port
from tests.support.outcomes import soon
from tests.support.processes import clean_environment
from tests.support.sidecar import LedgerInMemory, RunningSidecar, running

PROGRAMS = ("app.py", "threads.py")
READ = ("search:read",)
DEADLINE_S = 10.0
SOON_S = 0.7
"""Far above the few milliseconds that it takes, and far below the pause of the stream."""


@dataclass(frozen=True, slots=True)
class Example:
    """An example that is running, and the sidecar beside it."""

    program: str
    address: str
    link: LedgerInMemory
    sidecar: RunningSidecar


@pytest.fixture(scope="module", params=PROGRAMS)
def example(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Example]:
    folder, link = tmp_path_factory.mktemp("grpc"), LedgerInMemory()
    address = f"127.0.0.1:{free_port()}"
    with running(folder / "search.sock", link) as sidecar:
        process = subprocess.Popen(
            [sys.executable, request.param, address],
            cwd=EXAMPLES / "grpc",
            env=clean_environment(RESCIND_SOCKET=str(sidecar.path)),
        )
        with process:
            yield Example(request.param, address, link, sidecar)
            process.kill()


@asynccontextmanager
async def connected(example: Example) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(example.address) as channel:
        async with asyncio.timeout(DEADLINE_S):
            await channel.channel_ready()
        yield channel


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


async def call(channel: grpc.aio.Channel, method: str, token: str | None) -> bytes:
    sending: Any = channel.unary_unary(f"/search.Search/{method}")
    answer: bytes = await sending(
        b"", metadata=bearer(token) if token else None, timeout=DEADLINE_S
    )
    return answer


async def refusal(
    channel: grpc.aio.Channel, method: str, token: str | None
) -> tuple[grpc.StatusCode, object]:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(channel, method, token)
    told = dict(refused.value.trailing_metadata() or ())
    return refused.value.code(), told["x-rescind-reason"]


async def test_each_method_needs_a_good_token_with_its_scopes(example: Example) -> None:
    token = example.link.issue("agent:x", scopes=READ)
    admin = example.link.issue("agent:admin", scopes=("admin:write",))
    async with connected(example) as channel:
        assert await call(channel, "Find", token) == b"agent:x"
        assert await call(channel, "Administer", admin) == b"agent:admin"
        denied = (grpc.StatusCode.PERMISSION_DENIED, "insufficient_scope")
        assert await refusal(channel, "Administer", token) == denied
        assert await refusal(channel, "Find", admin) == denied
        missing = (grpc.StatusCode.UNAUTHENTICATED, "missing")
        assert await refusal(channel, "Find", None) == missing
        forged = LedgerInMemory().issue(scopes=READ)
        assert await refusal(channel, "Find", forged) == (
            grpc.StatusCode.UNAUTHENTICATED,
            "unknown",
        )
        elsewhere = example.link.issue(scopes=READ, audience=("mail",))
        assert (await refusal(channel, "Find", elsewhere))[1] == "wrong_audience"


async def test_a_revocation_ends_the_next_call_and_the_open_stream(example: Example) -> None:
    token = example.link.issue("agent:revoked", scopes=READ)
    async with connected(example) as channel:
        watch: Any = channel.unary_stream("/search.Search/Watch")
        stream = watch(b"", metadata=bearer(token), timeout=DEADLINE_S)
        assert await stream.read() == b"agent:revoked"
        example.sidecar.push(example.link.revoke("subject:agent:revoked"))
        began_s = time.monotonic()
        code = await stream.code()
        soon(time.monotonic() - began_s, at_most_s=SOON_S)
        threads = example.program == "threads.py"
        assert code == (grpc.StatusCode.CANCELLED if threads else grpc.StatusCode.UNAUTHENTICATED)
        assert await refusal(channel, "Find", token) == (
            grpc.StatusCode.UNAUTHENTICATED,
            "revoked",
        )


async def test_without_a_lease_calls_are_unavailable(example: Example) -> None:
    """The last test of the module: the lease is gone for good."""
    token = example.link.issue(scopes=READ)
    async with connected(example) as channel:
        assert await call(channel, "Find", token) == b"agent:x"
        example.sidecar.do(example.sidecar.instances.current.view.table.retire)
        assert await refusal(channel, "Find", token) == (grpc.StatusCode.UNAVAILABLE, "no_lease")


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_page_shows_lines_of_the_examples_alone(program: str) -> None:
    text = (DOCS / "integrations" / "grpc.md").read_text(encoding="utf-8")
    assert f"`deploy/examples/grpc/{program}`" in text
    known = {
        line.strip()
        for path in (EXAMPLES / "grpc").glob("*.py")
        for line in Path(path).read_text(encoding="utf-8").splitlines()
    }
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert blocks
    shown = [line.strip() for block in blocks for line in block.splitlines() if line.strip()]
    assert [line for line in shown if line not in known] == []
