"""One verifier in every process model: loops, threads, forks, gunicorn, several sidecars."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.support.eventually import eventually_blocking
from tests.support.http_exchange import ask, bearer, request
from tests.support.processes import clean_environment, gone
from tests.support.sidecar import LedgerInMemory, RunningSidecar, running

from rescind import Allowed, Denied, Reason, Verifier

# From 3.12 on Python warns of every fork beside a thread; here the child only ever checks.
pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")


@pytest.fixture
def link() -> LedgerInMemory:
    return LedgerInMemory()


@pytest.fixture
def sidecar(tmp_path: Path, link: LedgerInMemory) -> Iterator[RunningSidecar]:
    with running(tmp_path / "search.sock", link) as sidecar:
        yield sidecar


def reason(verdict: Allowed | Denied) -> Reason | None:
    return verdict.reason if isinstance(verdict, Denied) else None


def test_several_loops_in_several_threads_share_one_verifier(
    sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    verifier = Verifier.attach(sidecar.path, timeout_s=5)
    shared = [link.issue("agent:x") for _ in range(20)]

    async def checks(own: list[str]) -> set[Reason | None]:
        verdicts: list[Allowed | Denied] = []
        async with asyncio.TaskGroup() as tasks:
            jobs = [tasks.create_task(verifier.acheck(token)) for token in shared + own]
        verdicts.extend(job.result() for job in jobs)
        verdicts.extend(verifier.check(token) for token in own)  # blocking, in the same loop
        return {reason(verdict) for verdict in verdicts}

    def loop(_: int) -> set[Reason | None]:
        own = [link.issue("agent:y") for _ in range(5)]
        with asyncio.Runner() as runner:  # two loops, one after the other, in each thread
            seen = runner.run(checks(own))
        return seen | asyncio.run(checks(own))

    # Loops that have ended hung up by themselves: pytest would see what they left open.
    with ThreadPoolExecutor(4) as threads:
        assert set().union(*threads.map(loop, range(4))) == {None}
        sidecar.push(link.revoke("subject:agent:x"))
        sidecar.push(link.revoke("subject:agent:y"))
        seen = asyncio.run(checks([]))
    assert seen == {Reason.REVOKED}
    verifier.close()


def test_verifiers_of_different_sidecars_in_one_process_do_not_mix(tmp_path: Path) -> None:
    links = [LedgerInMemory(), LedgerInMemory()]
    with (
        running(tmp_path / "a.sock", links[0]) as first,
        running(tmp_path / "b.sock", links[1]) as second,
    ):
        verifiers = [Verifier.attach(each.path, timeout_s=5) for each in (first, second)]
        issued = [link.issue("agent:x") for link in links]
        for mine, other in ((0, 1), (1, 0)):
            assert reason(verifiers[mine].check(issued[mine])) is None
            assert reason(verifiers[mine].check(issued[other])) == Reason.UNKNOWN
        first.push(links[0].revoke("subject:agent:x"))
        assert reason(verifiers[0].check(issued[0])) == Reason.REVOKED
        assert reason(verifiers[1].check(issued[1])) is None
        child = os.fork()
        if child == 0:
            right = reason(verifiers[0].check(issued[0])) == Reason.REVOKED
            os._exit(0 if right and reason(verifiers[1].check(issued[1])) is None else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        for verifier in verifiers:
            verifier.close()


def test_a_fork_while_other_threads_check_leaves_no_lock_behind(
    sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    verifier = Verifier.attach(sidecar.path, timeout_s=5)
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            verifier.check(link.issue())

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            child = os.fork()
            if child == 0:
                signal.alarm(10)
                os._exit(0 if isinstance(verifier.check(link.issue()), Denied) else 1)
            # No sidecar knows a token that a child issues to itself: denied, and answered.
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        stop.set()
        for thread in threads:
            thread.join(timeout=10)
    verifier.close()


APP = """
import asyncio, json, os
from rescind import Allowed, Verifier

# Before the fork, where the application is preloaded: the children inherit it.
verifier = Verifier.attach(os.environ["RESCIND_SOCKET"], timeout_s=5)
LOADED_BY = os.getpid()

def told(verdict):
    reason = None if isinstance(verdict, Allowed) else verdict.reason
    return json.dumps({"reason": reason, "preloaded": LOADED_BY != os.getpid(), "pid": os.getpid()})

def wsgi(environ, start_response):
    token = environ["HTTP_AUTHORIZATION"].removeprefix("Bearer ")
    body = told(verifier.check(token)).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]

async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            await send({"type": (await receive())["type"] + ".complete"})
    token = dict(scope["headers"])[b"authorization"].decode().removeprefix("Bearer ")
    body = told(await verifier.acheck(token)).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
"""


@pytest.fixture(
    params=[("sync", "wsgi"), ("gthread", "wsgi"), ("uvicorn_worker.UvicornWorker", "asgi")],
    ids=["sync", "threads", "uvicorn"],
)
def gunicorn(
    request: pytest.FixtureRequest, sidecar: RunningSidecar, tmp_path: Path
) -> Iterator[Callable[[str], dict[str, object]]]:
    worker, application = request.param
    (tmp_path / "served.py").write_text(APP, encoding="utf-8")
    log = tmp_path / "gunicorn.log"
    command = [
        sys.executable, "-m", "gunicorn", "--preload", "--workers", "2", "--worker-class", worker,
        "--bind", "127.0.0.1:0", "--log-file", str(log), "--no-control-socket",
        "--graceful-timeout", "2", f"served:{application}",
    ]  # fmt: skip
    environment = clean_environment(RESCIND_SOCKET=str(sidecar.path), PYTHONPATH=str(tmp_path))
    with subprocess.Popen(command, env=environment, cwd=tmp_path) as process:
        try:
            port = eventually_blocking(lambda: _port(log, process), deadline_s=30)
            assert port is not None
            yield lambda token: _told(port, token)
        finally:
            process.terminate()
            process.wait(20)


def _port(log: Path, process: subprocess.Popen[bytes]) -> int | None:
    said = log.read_text(encoding="utf-8") if log.exists() else ""
    assert process.poll() is None, said
    marker = "Listening at: http://127.0.0.1:"
    if marker not in said or said.count("Booting worker") < 2:
        return None
    return int(said.partition(marker)[2].split()[0])


def _told(port: int, token: str) -> dict[str, object]:
    sent = request("/", bearer(token), "Connection: close")
    found: dict[str, object] = json.loads(asyncio.run(ask(port, sent)).body)
    return found


def test_a_verifier_attached_before_the_fork_works_in_every_worker_of_gunicorn(
    gunicorn: Callable[[str], dict[str, object]], sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    good, hit = link.issue("agent:good"), link.issue("agent:x")
    pids: set[object] = set()
    for _ in range(40):
        for token in (good, hit):
            told = gunicorn(token)
            assert (told["reason"], told["preloaded"]) == (None, True)
            pids.add(told["pid"])
    sidecar.push(link.revoke("subject:agent:x"))
    for _ in range(20):
        assert gunicorn(hit)["reason"] == "revoked"
        assert gunicorn(good)["reason"] is None
    (killed,) = list(pids)[:1]
    assert isinstance(killed, int)
    os.kill(killed, signal.SIGKILL)  # gunicorn forks another from the parent that never checked
    eventually_blocking(lambda: gone(killed))
    assert gunicorn(hit)["reason"] == "revoked"
