"""The workers of the data plane as processes: one port, never orphaned, never missed."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support import data_plane
from tests.support.eventually import eventually_blocking
from tests.support.http_exchange import Answer, ask, bearer, connect_raw, request
from tests.support.outcomes import soon
from tests.support.processes import gone
from tests.support.sidecar import LedgerInMemory, RunningSidecar, running

from rescind_sidecar.http import operations_relay
from rescind_sidecar.http.messages import HttpRequest


@pytest.fixture
def link() -> LedgerInMemory:
    return LedgerInMemory()


@pytest.fixture
def sidecar(tmp_path: Path, link: LedgerInMemory) -> Iterator[RunningSidecar]:
    with running(tmp_path / "search.sock", link) as sidecar:
        yield sidecar


async def verify(port: int, token: str, query: str = "") -> Answer:
    return await ask(port, request(f"/verify{query}", bearer(token)))


async def test_a_worker_denies_as_soon_as_the_event_is_applied(
    sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    token = link.issue("agent:x", scopes=("a",))
    async with data_plane.running(sidecar) as plane, connect_raw(plane.port) as line:
        sent = request("/verify?require=a", bearer(token))
        assert (await line.ask(sent)).status == 200
        sidecar.push(link.revoke("subject:agent:x"))
        answer = await line.ask(sent)
        assert (answer.status, answer.headers["x-rescind-reason"]) == (401, "revoked")
        poor = await verify(plane.port, link.issue(scopes=("b",)), "?require=a")
        assert poor.status == 403


async def test_a_worker_follows_the_settings_of_its_sidecar(
    sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    mail = link.issue("agent:x", audience=("mail",))
    told: dict[str, Any] = {
        "RESCIND_AUDIENCES": "billing, mail",
        "RESCIND_STALE_STATUS": "401",
        "RESCIND_RESOURCE_METADATA": "https://mcp.example.com/.well-known/x",
    }
    challenge = 'Bearer realm="rescind", resource_metadata="https://mcp.example.com/.well-known/x"'
    async with data_plane.running(sidecar, **told) as plane:
        missing = await ask(plane.port, request("/verify"))
        assert missing.headers["www-authenticate"] == challenge
        assert (
            (await verify(plane.port, mail)).headers["www-authenticate"].endswith('.well-known/x"')
        )
        assert (await verify(plane.port, mail, "?audience=mail")).status == 200
        assert (await verify(plane.port, mail, "?audience=search2")).status == 400
        sidecar.do(sidecar.instances.current.view.table.retire)
        stale = await verify(plane.port, mail, "?audience=mail")
        assert (stale.status, stale.headers["x-rescind-reason"]) == (401, "no_lease")
        assert stale.headers["www-authenticate"] == challenge


async def test_operators_get_the_readiness_and_metrics_of_the_sidecar_itself(
    sidecar: RunningSidecar, link: LedgerInMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    link.term_ms = 300
    async with data_plane.running(sidecar) as plane:
        ready = await ask(plane.port, request("/readyz"))
        assert ready.status == 200
        assert json.loads(ready.body)["instance"] == sidecar.instances.current.instance.hex()
        alive = await ask(plane.port, request("/healthz", method="HEAD"))
        assert (alive.status, alive.body) == (200, b"")
        metrics = await ask(plane.port, request("/metrics"))
        assert b"rescind_sidecar_heartbeats_total" in metrics.body
        assert metrics.headers["content-type"].startswith("text/plain")
        wrong = await ask(plane.port, request("/readyz", method="POST"))
        assert (wrong.status, wrong.headers["allow"]) == (405, "GET, HEAD")
        link.reachable = False
        async with asyncio.timeout(20):  # the lease that it has may be one of the longer term
            while (await ask(plane.port, request("/readyz"))).status != 503:
                await asyncio.sleep(0.05)
        assert (await ask(plane.port, request("/healthz"))).status == 200
        denied = await verify(plane.port, link.issue())
        assert (denied.status, denied.headers["x-rescind-reason"]) == (503, "no_lease")


async def test_a_worker_that_is_killed_is_started_again_and_callers_wait_for_it(
    sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    token = link.issue()
    async with data_plane.running(sidecar) as plane:
        (killed,) = plane.pids
        assert (await verify(plane.port, token)).status == 200
        os.kill(killed, signal.SIGKILL)
        assert (await verify(plane.port, token)).status == 200  # it waited in the backlog
        assert sidecar.tally.http_workers_restarted == 1
        assert plane.pids != [killed]
        assert gone(killed)
        metrics = await ask(plane.port, request("/metrics"))
        assert b"rescind_sidecar_http_workers_restarted_total 1.0" in metrics.body


async def test_several_workers_share_one_port(
    sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    token = link.issue()
    async with data_plane.running(sidecar, workers=2) as plane:
        first, second = plane.pids
        os.kill(first, signal.SIGSTOP)  # a free worker takes the call
        try:
            async with asyncio.timeout(10):
                answers = 0
                while answers < 5:
                    # A connection that the stopped one took already is its own.
                    async with connect_raw(plane.port) as line:
                        await line.send(request("/verify", bearer(token)))
                        try:
                            async with asyncio.timeout(0.5):
                                answers += (await line.answer()).status == 200
                        except TimeoutError:
                            continue
        finally:
            os.kill(first, signal.SIGCONT)
        os.kill(second, signal.SIGKILL)
        assert (await verify(plane.port, token)).status == 200


async def test_zero_workers_means_no_data_plane_and_operators_are_still_answered(
    sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    async with data_plane.running(sidecar, workers=0) as plane:
        assert plane.pids == []
        assert (await ask(plane.port, request("/readyz"))).status == 200
        assert (await verify(plane.port, link.issue())).status == 404


async def test_a_stop_leaves_no_worker_even_with_open_connections(
    sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    loop = asyncio.get_running_loop()
    async with data_plane.running(sidecar, workers=2) as plane, connect_raw(plane.port) as idle:
        assert (await idle.ask(request("/verify", bearer(link.issue())))).status == 200
        async with connect_raw(plane.port) as stuck:
            await stuck.send(b"GET /verify HTTP/1.1\r\n")
            pids = plane.pids
            began_s = loop.time()
    soon(loop.time() - began_s, at_most_s=5)
    assert all(map(gone, pids))


_PARENT = """
import asyncio, sys
from pathlib import Path
from tests.support import data_plane
from tests.support.sidecar import LedgerInMemory, running

async def main():
    with running(Path(sys.argv[1]), LedgerInMemory()) as sidecar:
        async with data_plane.running(sidecar, workers=2) as plane:
            print(*plane.pids, flush=True)
            await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_workers_die_with_a_sidecar_that_is_killed(tmp_path: Path) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _PARENT, str(tmp_path / "s.sock"), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    pids: list[int] = []
    async with asyncio.timeout(30):
        while not pids:  # log lines come first
            words = (await parent.stdout.readline()).split()
            pids = [int(word) for word in words] if all(w.isdigit() for w in words) else []
    parent.kill()
    await parent.wait()
    eventually_blocking(lambda: all(map(gone, pids)))


async def test_a_sidecar_that_hangs_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations_relay, "DEADLINE_S", 0.05)
    ask_it = operations_relay.Relay(b"\0rescind test, nobody listens here")
    assert (await ask_it(_request("/readyz"))).status == 503

    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind("")
        deaf.listen()  # and never accept
        assert (
            await operations_relay.Relay(deaf.getsockname())(_request("/healthz"))
        ).status == 503


def _request(path: str) -> HttpRequest:
    return HttpRequest("GET", path, b"", [])


async def test_a_worker_introspects_by_the_settings_of_its_sidecar(
    sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    form = f"token={link.issue('agent:x', scopes=('a',))}".encode()
    kind = "Content-Type: application/x-www-form-urlencoded"
    asked = request("/introspect", kind, method="POST", body=form)
    async with data_plane.running(sidecar) as plane:
        assert (await ask(plane.port, asked)).status == 401
    told: dict[str, Any] = {"RESCIND_INTROSPECT": "loopback", "RESCIND_INTROSPECT_EXP": "true"}
    async with data_plane.running(sidecar, **told) as plane, connect_raw(plane.port) as line:
        found = json.loads((await line.ask(asked)).body)
        assert (found["active"], found["scope"], "exp" in found) == (True, "a", True)
        sidecar.push(link.revoke("subject:agent:x"))
        assert json.loads((await line.ask(asked)).body) == {"active": False}
        sidecar.do(sidecar.instances.current.view.table.retire)
        other = f"token={link.issue()}".encode()
        stale = await line.ask(request("/introspect", kind, method="POST", body=other))
        assert (stale.status, stale.headers["retry-after"]) == (503, "1")
