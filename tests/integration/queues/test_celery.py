"""Tasks of Celery run under a token, on real workers of each pool beside a real sidecar."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from celery import Celery
from celery.backends.base import Backend
from tests.support import workers
from tests.support.eventually import eventually_blocking
from tests.support.outcomes import soon
from tests.support.sidecar import LedgerInMemory, RunningSidecar, running
from tests.support.workers import Broker

from rescind import DeniedError
from rescind.core.token_format import digest

SOON_S = 1.0
_QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "INFO")


@dataclass(frozen=True, slots=True)
class Queue:
    """A worker, and the client of its producers."""

    app: Celery
    results: Backend
    broker: Broker
    environ: dict[str, str]
    socket: Path
    log: Path

    def send(self, task: str, argument: object, token: str | None) -> str:
        """Send a task; return its id."""
        headers = {} if token is None else {"rescind_token_hash": digest(token).hex()}
        task_id: str = self.app.send_task(f"tasks.{task}", [argument], headers=headers).id
        return task_id

    def state(self, task_id: str) -> str:
        """Return the state of a task."""
        state: str = self.results.get_state(task_id)
        return state

    def result(self, task_id: str) -> object:
        """Wait until a task has ended; return its result, or its error."""
        eventually_blocking(lambda: self.state(task_id) in {"SUCCESS", "FAILURE"})
        return self.results.get_result(task_id)

    def denial(self, task_id: str) -> str:
        """Wait until a task has ended as denied; return the reason."""
        error = self.result(task_id)
        assert isinstance(error, DeniedError)
        return error.reason


@pytest.fixture(scope="module", params=["threads", "prefork", "solo"])
def queue(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Queue]:
    directory = tmp_path_factory.mktemp("up")
    socket, log = directory / "search.sock", directory / "worker.log"
    with workers.broker(directory) as broker:
        url = f"redis+socket://{broker.path}"
        environ = {"BROKER_URL": url, "RESCIND_SOCKET": str(socket)}
        command = ("celery", "-A", "tasks", "worker", "-P", request.param, "-c", "1", *_QUIET)
        with (
            workers.worker("celery", *command, ready="ready.", log=log, environ=environ),
            Celery("producer", broker=url) as app,
        ):
            results = Celery("results", backend=url).backend
            yield Queue(app, results, broker, environ, socket, log)


@pytest.fixture
def link() -> LedgerInMemory:
    return LedgerInMemory()


@pytest.fixture
def sidecar(queue: Queue, link: LedgerInMemory) -> Iterator[RunningSidecar]:
    with running(queue.socket, link) as sidecar:
        yield sidecar


@pytest.mark.usefixtures("sidecar")
def test_a_task_with_a_good_token_runs_and_knows_its_record(
    queue: Queue, link: LedgerInMemory
) -> None:
    token = link.issue("agent:good", scopes=("reports:*",))
    shown = workers.enqueue("celery", token, "2026-11", queue.environ)
    assert shown == "2026-11 for agent:good"


@pytest.mark.usefixtures("sidecar")
def test_the_broker_gets_the_hash_of_the_token_and_no_token(
    queue: Queue, link: LedgerInMemory
) -> None:
    token = link.issue("agent:good", scopes=("reports:*",))
    queue.app.send_task(
        "other", queue="unread", headers={"rescind_token_hash": digest(token).hex()}
    )
    assert queue.result(queue.send("write_report", "2026-11", token))
    texts = queue.broker.texts()
    assert digest(token).hex().encode() in texts
    assert b"rsc_" not in texts
    assert "rsc_" not in queue.log.read_text()


@pytest.mark.usefixtures("sidecar")
def test_a_task_without_a_good_token_fails_with_the_reason_and_is_not_retried(
    queue: Queue, link: LedgerInMemory
) -> None:
    reader = link.issue(scopes=("reports:read",))
    unknown = "rsc_agt_unknown"
    assert queue.denial(queue.send("write_report", "2026-11", None)) == "missing"
    assert queue.denial(queue.send("write_report", "2026-11", reader)) == "insufficient_scope"
    assert queue.denial(queue.send("write_report", "2026-11", unknown)) == "unknown"


def test_a_task_whose_token_is_revoked_before_it_begins_does_not_run(
    queue: Queue, link: LedgerInMemory, sidecar: RunningSidecar
) -> None:
    token = link.issue("agent:revoked", scopes=("reports:*",))
    sidecar.push(link.revoke("subject:agent:revoked"))
    task_id = queue.send("write_all_reports", 600, token)
    assert queue.denial(task_id) == "revoked"
    assert "Traceback" not in queue.log.read_text()


def test_a_task_whose_token_is_revoked_while_it_runs_is_interrupted(
    queue: Queue, link: LedgerInMemory, sidecar: RunningSidecar
) -> None:
    token = link.issue("agent:working", scopes=("reports:*",))
    task_id = queue.send("write_all_reports", 600, token)
    eventually_blocking(lambda: queue.state(task_id) == "WORKING")
    sidecar.push(link.revoke("subject:agent:working"))
    revoked_s = time.monotonic()
    assert queue.denial(task_id) == "revoked"
    soon(time.monotonic() - revoked_s, at_most_s=SOON_S)
    good = link.issue("agent:next", scopes=("reports:*",))
    assert queue.result(queue.send("write_report", "2026-12", good)) == "2026-12 for agent:next"


def test_a_task_without_a_lease_is_sent_again_until_there_is_one(
    queue: Queue, link: LedgerInMemory
) -> None:
    token = link.issue("agent:later", scopes=("reports:*",))
    link.reachable = False
    with running(queue.socket, link):
        task_id = queue.send("write_all_reports", 1, token)
        eventually_blocking(lambda: queue.state(task_id) == "RETRY")
        assert "no_lease" in str(queue.results.get_result(task_id))
        link.reachable = True
        assert queue.result(task_id) is None
