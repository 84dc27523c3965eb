"""Jobs of arq run under a token, on a real worker beside a real sidecar."""

import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from arq import ArqRedis, create_pool
from arq.connections import RedisSettings
from arq.jobs import Job
from tests.support import workers
from tests.support.eventually import eventually
from tests.support.outcomes import soon
from tests.support.sidecar import LedgerInMemory, RunningSidecar, running
from tests.support.workers import Broker

from rescind import DeniedError
from rescind.core.token_format import digest

# arq 0.28 passes an argument that redis 8 ignores, and warns of.
pytestmark = pytest.mark.filterwarnings("ignore:.*'retry_on_timeout':DeprecationWarning")

SOON_S = 1.0


@dataclass(frozen=True, slots=True)
class Queue:
    """A worker and its broker."""

    broker: Broker
    environ: dict[str, str]
    socket: Path
    log: Path


@pytest.fixture(scope="module")
def queue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Queue]:
    directory = tmp_path_factory.mktemp("up")
    socket, log = directory / "search.sock", directory / "worker.log"
    with workers.broker(directory) as broker:
        environ = {"BROKER_URL": f"unix://{broker.path}", "RESCIND_SOCKET": str(socket)}
        command, ready = ("arq", "jobs.WorkerSettings"), "redis_version="
        with workers.worker("arq", *command, ready=ready, log=log, environ=environ):
            yield Queue(broker, environ, socket, log)


@pytest.fixture
def link() -> LedgerInMemory:
    return LedgerInMemory()


@pytest.fixture
def sidecar(queue: Queue, link: LedgerInMemory) -> Iterator[RunningSidecar]:
    with running(queue.socket, link) as sidecar:
        yield sidecar


@pytest.fixture
async def pool(queue: Queue) -> AsyncIterator[ArqRedis]:
    pool = await create_pool(RedisSettings(unix_socket_path=str(queue.broker.path)))
    yield pool
    await pool.aclose()


async def enqueued(pool: ArqRedis, name: str, argument: object, token: str | None) -> Job:
    arguments = dict[str, Any]()
    if token is not None:
        arguments["rescind_token_hash"] = digest(token).hex()
    job = await pool.enqueue_job(name, argument, **arguments)
    assert job is not None
    return job


async def reason_of(job: Job) -> str:
    with pytest.raises(DeniedError) as denied:
        await job.result(timeout=15, poll_delay=0.02)
    return denied.value.reason


@pytest.mark.usefixtures("sidecar")
def test_a_job_with_a_good_token_runs_and_knows_its_record(
    queue: Queue, link: LedgerInMemory
) -> None:
    token = link.issue("agent:good", scopes=("reports:*",))
    assert workers.enqueue("arq", token, "2026-11", queue.environ) == "2026-11 for agent:good"


@pytest.mark.usefixtures("sidecar")
async def test_the_broker_gets_the_hash_of_the_token_and_no_token(
    queue: Queue, link: LedgerInMemory, pool: ArqRedis
) -> None:
    token = link.issue("agent:good", scopes=("reports:*",))
    unread: dict[str, Any] = {"rescind_token_hash": digest(token).hex()}
    assert await pool.enqueue_job("write_report", "2026-11", _queue_name="unread", **unread)
    job = await enqueued(pool, "write_report", "2026-11", token)
    assert await job.result(timeout=15, poll_delay=0.02) == "2026-11 for agent:good"
    texts = queue.broker.texts()
    assert digest(token).hex().encode() in texts
    assert b"rsc_" not in texts
    assert "rsc_" not in queue.log.read_text()


@pytest.mark.usefixtures("sidecar")
async def test_a_job_without_a_good_token_fails_with_the_reason_and_is_not_retried(
    link: LedgerInMemory, pool: ArqRedis
) -> None:
    reader = link.issue(scopes=("reports:read",))
    for token, reason in (
        (None, "missing"),
        (reader, "insufficient_scope"),
        ("rsc_agt_unknown", "unknown"),
    ):
        job = await enqueued(pool, "write_report", "2026-11", token)
        assert await reason_of(job) == reason
        info = await job.result_info()
        assert info is not None
        assert info.job_try == 1


async def test_a_job_whose_token_is_revoked_before_it_begins_does_not_run(
    queue: Queue, link: LedgerInMemory, sidecar: RunningSidecar, pool: ArqRedis
) -> None:
    token = link.issue("agent:revoked", scopes=("reports:*",))
    sidecar.push(link.revoke("subject:agent:revoked"))
    job = await enqueued(pool, "write_all_reports", 600, token)
    assert await reason_of(job) == "revoked"
    assert queue.broker.find(f"progress:{job.job_id}") is None


async def test_a_job_whose_token_is_revoked_while_it_runs_is_cancelled(
    queue: Queue, link: LedgerInMemory, sidecar: RunningSidecar, pool: ArqRedis
) -> None:
    token = link.issue("agent:working", scopes=("reports:*",))
    job = await enqueued(pool, "write_all_reports", 600, token)
    await eventually(lambda: pool.get(f"progress:{job.job_id}"))
    sidecar.push(link.revoke("subject:agent:working"))
    revoked_s = time.monotonic()
    assert await reason_of(job) == "revoked"
    soon(time.monotonic() - revoked_s, at_most_s=SOON_S)


async def test_a_job_without_a_lease_is_tried_again_until_there_is_one(
    queue: Queue, link: LedgerInMemory, pool: ArqRedis
) -> None:
    token = link.issue("agent:later", scopes=("reports:*",))
    link.reachable = False
    with running(queue.socket, link):
        job = await enqueued(pool, "write_all_reports", 1, token)
        await eventually(lambda: pool.get(f"arq:retry:{job.job_id}"))
        assert queue.broker.find(f"progress:{job.job_id}") is None
        link.reachable = True
        assert await job.result(timeout=15, poll_delay=0.02) is None
        assert queue.broker.find(f"progress:{job.job_id}") == b"0"
