"""A sidecar that stops: what its workloads can still get when its release leaves.

The real wiring runs, with its table file, its socket, a worker of HTTP and one of gRPC; only the
transport is a fake. A release lets receipts count the instance out at once, so nothing may be left
by then.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from tests.support.ledger_transport import LedgerTransport
from tests.support.processes import gone
from tests.support.sidecar import LedgerInMemory

from rescind import Denied, Verifier
from rescind.client.table_reader import MappedTable
from rescind.core.generation_table import DEADLINE
from rescind.core.verdict import Allowed
from rescind.wire import heartbeat, usage_report
from rescind_runtime.supervise import Stop
from rescind_sidecar.grpc import supervisor as grpc_supervisor
from rescind_sidecar.grpc.supervisor import GrpcServed
from rescind_sidecar.http import supervisor
from rescind_sidecar.http.supervisor import Served
from rescind_sidecar.ports import Tables
from rescind_sidecar.settings import SidecarSettings
from rescind_sidecar.usecases import shutdown
from rescind_sidecar.usecases.lease.renew import Renew
from rescind_sidecar.usecases.lookup.usage_reports import UsageReports
from rescind_sidecar.wiring import parts
from rescind_sidecar.wiring.sidecar import Sidecar

_ATTACH_S = 20.0


class ObservedSidecar:
    """A running sidecar, a workload that has checked a token, and what is left at the release."""

    def __init__(
        self,
        path: Path,
        transport: LedgerTransport,
        *,
        stop: Stop,
        served: Served,
        grpc: GrpcServed | None,
        verifier: Verifier,
    ) -> None:
        self.path = path
        self.transport = transport
        self.stop = stop
        self.served = served
        self.grpc = grpc
        self.verifier = verifier
        self.table = MappedTable.open(path.with_suffix(".table"))
        self.token = transport.ledger.issue()
        self.left: set[str] | None = None
        self.pids = set(served.pids)

    async def check_first(self) -> None:
        """Check until the workload accepts the token."""
        async with asyncio.timeout(_ATTACH_S):
            while not isinstance(await self.verifier.acheck(self.token), Allowed):
                await asyncio.sleep(0.01)
        self.transport.on_told = self._look

    def _look(self) -> None:
        if isinstance(self.transport.told[-1], heartbeat.Release):
            assert self.left is None, "two releases left"
            self.left = set(self._what_answers())

    def _what_answers(self) -> list[str]:
        verdict = self.verifier.recall(self.token)
        answers = {
            "a check from memory": verdict is not None and not isinstance(verdict, Denied),
            "a deadline": any(self.table.words[word] for word in DEADLINE.values()),
            "the table's file": self.path.with_suffix(".table").exists(),
            "the socket": self.path.exists(),
            "an HTTP worker": not all(gone(pid) for pid in self.pids | set(self.served.pids)),
            "a gRPC worker": self.grpc is not None and not all(map(gone, self.grpc.pids)),
        }
        return [name for name, there in answers.items() if there]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "search.sock"


@pytest.fixture
def transport(path: Path) -> LedgerTransport:
    transport = LedgerTransport(LedgerInMemory())
    transport.ledger.keyring.trust.write(path.with_suffix(".trust"))
    return transport


@pytest.fixture(autouse=True)
def _over_it(transport: LedgerTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "NatsTransport", lambda *_, **__: transport)


@asynccontextmanager
async def observed(
    path: Path, transport: LedgerTransport, monkeypatch: pytest.MonkeyPatch, *, workers: int = 1
) -> AsyncGenerator[tuple[ObservedSidecar, asyncio.Task[None]]]:
    """Run a sidecar until a workload has accepted a token; the block has to end it."""
    ready = _note(supervisor, monkeypatch)
    grpc_ready = _note(grpc_supervisor, monkeypatch)
    settings = SidecarSettings(
        service="search",
        socket=path,
        credential=SecretStr("the ledger takes any"),
        trust_file=path.with_suffix(".trust"),
        http_workers=workers,
        grpc="127.0.0.1:0" if workers else None,
    )
    stop = Stop()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(_run(Sidecar(settings), stop))
        served = await ready
        grpc = await grpc_ready if workers else None
        verifier = await asyncio.to_thread(Verifier.attach, path, timeout_s=5)
        try:
            observed_sidecar = ObservedSidecar(
                path, transport, stop=stop, served=served, grpc=grpc, verifier=verifier
            )
            await observed_sidecar.check_first()
            yield observed_sidecar, running
        finally:
            verifier.close()


def _note(module: Any, monkeypatch: pytest.MonkeyPatch) -> asyncio.Future[Any]:
    """Return what `serving` of a module will yield."""
    ready: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    serving = module.serving

    @asynccontextmanager
    async def noted(*arguments: object, **named: object) -> AsyncGenerator[object]:
        async with serving(*arguments, **named) as served:
            ready.set_result(served)
            yield served

    monkeypatch.setattr(module, "serving", noted)
    return ready


async def _run(sidecar: Sidecar, stop: Stop) -> None:
    with contextlib.suppress(ExceptionGroup):  # the pinned log says what it was
        await sidecar.run(stop)


class SeededDefectError(Exception):
    """A defect that ends the process."""


async def test_no_workload_gets_an_answer_once_the_release_is_sent(
    path: Path, transport: LedgerTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with observed(path, transport, monkeypatch) as (observed_sidecar, running):
        assert set(observed_sidecar._what_answers()) == {
            "a check from memory",
            "a deadline",
            "the table's file",
            "the socket",
            "an HTTP worker",
            "a gRPC worker",
        }
        observed_sidecar.stop.request()
        await running
    assert observed_sidecar.left == set()
    assert [type(each) for each in transport.told] == [heartbeat.Release, usage_report.Used]


async def test_a_worker_that_died_just_before_the_stop_is_not_started_again_after_it(
    path: Path, transport: LedgerTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a service manager sends SIGTERM to every process of the unit at once."""
    async with observed(path, transport, monkeypatch) as (observed_sidecar, running):
        for pid in observed_sidecar.served.pids:
            os.kill(pid, signal.SIGTERM)
        async with asyncio.timeout(_ATTACH_S):
            while set(observed_sidecar.served.pids) == observed_sidecar.pids:
                await asyncio.sleep(0.01)  # until another was started in its place
        observed_sidecar.stop.request()
        await running
    assert observed_sidecar.left == set()


async def test_without_http_workers_too_no_workload_gets_an_answer_once_the_release_is_sent(
    path: Path, transport: LedgerTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with observed(path, transport, monkeypatch, workers=0) as (observed_sidecar, running):
        observed_sidecar.stop.request()
        await running
    assert observed_sidecar.left == set()


async def test_a_sidecar_that_breaks_releases_nothing_because_its_table_still_has_its_deadlines(
    path: Path, transport: LedgerTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with observed(path, transport, monkeypatch, workers=0) as (observed_sidecar, running):
        assert transport.fails is not None
        transport.fails.set_exception(SeededDefectError())
        await running
    assert transport.told == []
    assert "a deadline" in observed_sidecar._what_answers()


Step = Callable[[AsyncExitStack, Tables, Renew, UsageReports], Awaitable[None]]


async def stop_answering(serving: AsyncExitStack, *_: object) -> None:
    await serving.aclose()


async def retire(_: object, tables: Tables, *__: object) -> None:
    tables.retire()


async def release(_: object, __: object, renew: Renew, *___: object) -> None:
    await renew.release()


@pytest.mark.parametrize(
    ("order", "left"),
    [
        ((stop_answering, release, retire), {"a deadline", "the table's file"}),
        ((retire, release, stop_answering), {"the socket", "an HTTP worker", "a gRPC worker"}),
        (
            (release, stop_answering, retire),
            {"a deadline", "the table's file", "the socket", "an HTTP worker", "a gRPC worker"},
        ),
    ],
    ids=["the table after the release", "the servers after the release", "the release first"],
)
async def test_control_another_order_of_shutdown_is_detected(
    path: Path,
    transport: LedgerTransport,
    monkeypatch: pytest.MonkeyPatch,
    order: tuple[Step, ...],
    left: set[str],
) -> None:
    async def wrong(
        serving: AsyncExitStack,
        *,
        tables: Tables,
        renew: Renew,
        uses: UsageReports,
    ) -> None:
        for step in order:
            await step(serving, tables, renew, uses)

    monkeypatch.setattr(shutdown, "shut_down", wrong)
    async with observed(path, transport, monkeypatch) as (observed_sidecar, running):
        observed_sidecar.stop.request()
        await running
    assert observed_sidecar.left is not None
    assert observed_sidecar.left - {"a check from memory"} == left
