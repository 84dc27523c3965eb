"""Work under a token ends when the token does: against a real socket, table and threads."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest
from tests.support import processes
from tests.support.eventually import eventually
from tests.support.outcomes import in_time, soon, timely
from tests.support.separate_sidecar import separate
from tests.support.sidecar import (
    LedgerInMemory,
    RunningSidecar,
    accepted,
    now_us,
    running,
    wait_until,
)

from rescind import Denied, DeniedError, Reason, Verifier
from rescind.client.holds import registry
from rescind.client.transport import NoAnswerError
from rescind.core.token_format import digest
from rescind.errors import MalformedMessageError
from rescind.wire.socket_protocol import Request, Watch
from rescind_sidecar.socket.server import WorkloadConnection

# From 3.12 on Python warns of every fork beside a thread; here the child only ever waits.
pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")

# A push takes a millisecond or two; these machines are shared, and a stall is no finding. It is
# well below the second after which everything is looked at anyway.
SOON_S = 0.7
TIMEOUT_S = 0.25
AT_ONCE = 25
"""So many holds begin at once: a slow machine answers them within TIMEOUT_S."""


@asynccontextmanager
async def attached(socket: Path) -> AsyncGenerator[Verifier]:
    """Attach with the deadline of a workload, as soon as a sidecar answers within it."""

    async def look() -> Verifier | None:
        with suppress(NoAnswerError):
            return await asyncio.to_thread(Verifier.attach, socket, timeout_s=TIMEOUT_S)
        return None

    verifier = await eventually(look)
    assert verifier is not None
    try:
        yield verifier
    finally:
        await hang_up(verifier)


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    return tmp_path / "search.sock"


@pytest.fixture
def link() -> LedgerInMemory:
    return LedgerInMemory()


@pytest.fixture
def sidecar(socket: Path, link: LedgerInMemory) -> Iterator[RunningSidecar]:
    with running(socket, link) as sidecar:
        yield sidecar


@pytest.fixture
def verifier(sidecar: RunningSidecar, socket: Path) -> Iterator[Verifier]:
    verifier = Verifier.attach(socket, timeout_s=5)
    yield verifier
    verifier.close()


class HeldWork:
    """A body that waits for ever, and what became of it."""

    def __init__(self, verifier: Verifier, token: str | bytes, **asked: object) -> None:
        if isinstance(token, bytes):
            self._hold = verifier.hold_by_hash(token, **asked)  # type: ignore[arg-type]
        else:
            self._hold = verifier.hold(token, **asked)  # type: ignore[arg-type]
        self.began = asyncio.Event()
        self.ended_s = 0.0
        self.reason: str | None = None

    async def run(self) -> None:
        try:
            async with self._hold:
                self.began.set()
                await asyncio.Event().wait()
        except DeniedError as denied:
            self.reason = denied.reason
        self.ended_s = time.monotonic()
        self.began.set()  # also where the hold itself was denied: a test waits for no such work

    async def start(self, tasks: asyncio.TaskGroup) -> "asyncio.Task[None]":
        """Run it, and return once it holds. Raises LateError if the sidecar came too late."""
        task = tasks.create_task(self.run())
        await self.began.wait()
        timely(self.reason is None, self.reason)
        return task


async def hang_up(verifier: Verifier) -> None:
    verifier.close()
    for _ in range(3):  # the loop's own steps from close() to the closed socket
        await asyncio.sleep(0)


async def watched(verifier: Verifier) -> None:
    """Wait until the sidecar pushes to this verifier."""
    ends_s = time.monotonic() + 10
    while not (verifier._holds._monitor and verifier._holds._monitor.subscription.open):
        in_time(ends_s, "the sidecar does not push")
        await asyncio.sleep(0.002)


async def test_a_body_that_waits_is_cancelled_when_its_token_is_revoked(
    verifier: Verifier, sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    hit = HeldWork(verifier, link.issue("agent:x"))
    spared = HeldWork(verifier, link.issue("agent:y"))
    async with asyncio.TaskGroup() as tasks:
        hit_task, spared_task = tasks.create_task(hit.run()), tasks.create_task(spared.run())
        await hit.began.wait(), await spared.began.wait()
        await watched(verifier)
        began_s = time.monotonic()
        sidecar.push(link.revoke("subject:agent:x"))
        await hit_task
        assert hit.reason is Reason.REVOKED
        soon(hit.ended_s - began_s, at_most_s=SOON_S)
        await asyncio.to_thread(sidecar.push, link.revoke("subject:agent:z"))
        assert not spared_task.done()
        spared_task.cancel()


@pytest.mark.parametrize("mapped", [True, False])
async def test_work_whose_token_is_known_by_its_hash_ends_with_the_token(
    sidecar: RunningSidecar, link: LedgerInMemory, mapped: bool
) -> None:
    if not mapped:
        sidecar.path.with_suffix(".table").unlink()
    verifier = Verifier.attach(sidecar.path, timeout_s=5)
    assert verifier.shares_memory is mapped
    token_hash = digest(link.issue("agent:x", scopes=("a", "b")))
    late, work, narrow = (
        HeldWork(verifier, token_hash),
        HeldWork(verifier, token_hash, require={"b"}),
        HeldWork(verifier, token_hash, require={"a"}),
    )
    async with asyncio.TaskGroup() as tasks:
        await work.start(tasks)
        await narrow.start(tasks)
        await asyncio.to_thread(sidecar.push, link.revoke("*", effect="narrow", scopes=("a",)))
        await eventually(lambda: asyncio.sleep(0, narrow.reason))
        await asyncio.to_thread(sidecar.push, link.revoke("subject:agent:x"))
    assert (narrow.reason, work.reason) == (Reason.INSUFFICIENT_SCOPE, Reason.REVOKED)
    await late.run()
    assert late.reason is Reason.REVOKED
    with pytest.raises(ValueError, match="32 bytes"):
        verifier.hold_by_hash(bytes(31))
    await hang_up(verifier)


@pytest.mark.parametrize("mapped", [True, False])
async def test_every_kind_of_hit_ends_the_work_with_its_reason(
    sidecar: RunningSidecar, link: LedgerInMemory, mapped: bool
) -> None:
    if not mapped:
        sidecar.path.with_suffix(".table").unlink()
    verifier = Verifier.attach(sidecar.path, timeout_s=5)
    assert verifier.shares_memory is mapped
    works = {
        Reason.REVOKED: HeldWork(verifier, link.issue("agent:a")),
        Reason.SUSPENDED: HeldWork(verifier, link.issue("agent:b")),
        Reason.INSUFFICIENT_SCOPE: HeldWork(
            verifier, link.issue("agent:c", scopes=("a", "b")), require={"a"}
        ),
        Reason.EXPIRED: HeldWork(verifier, link.issue(expires_at_us=now_us() + 1_500_000)),
    }
    spared = HeldWork(verifier, link.issue("agent:c", scopes=("a", "b")), require={"b"})
    async with asyncio.TaskGroup() as tasks:
        ended = [tasks.create_task(work.run()) for work in works.values()]
        spared_task = tasks.create_task(spared.run())
        for work in (*works.values(), spared):
            await work.began.wait()
        sidecar.push(link.revoke("subject:agent:a"))
        sidecar.push(link.revoke("subject:agent:b", effect="suspend"))
        sidecar.push(link.revoke("subject:agent:c", effect="narrow", scopes=("a",)))
        for task in ended:
            await task
        assert spared.reason is None
        spared_task.cancel()
    assert {work.reason: work for work in works.values()} == works
    await hang_up(verifier)


async def test_a_token_that_ends_during_the_work_ends_it_then(
    verifier: Verifier, link: LedgerInMemory
) -> None:
    # Something else is held for longer: the thread must be woken for the earlier end, before the
    # look that it takes each second.
    long = HeldWork(verifier, link.issue())
    short = HeldWork(verifier, link.issue(expires_at_us=now_us() + 600_000))
    began_s = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        long_task = tasks.create_task(long.run())
        await long.began.wait()
        await tasks.create_task(short.run())
        long_task.cancel()
    assert short.reason is Reason.EXPIRED
    assert short.ended_s - began_s > 0.5
    soon(short.ended_s - began_s, at_most_s=0.95)


async def test_work_begins_only_with_a_good_token(
    verifier: Verifier, sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    token = link.issue("agent:x", scopes=("a",))
    with pytest.raises(DeniedError, match="insufficient_scope"):
        async with verifier.hold(token, require={"b"}):
            pytest.fail("the body ran")
    with pytest.raises(DeniedError, match="malformed"), verifier.hold("nonsense"):
        pytest.fail("the body ran")
    async with verifier.hold(token, require={"a"}) as record:
        assert record.subject == "agent:x"
    assert not verifier._holds._registered


def test_a_thread_is_notified_and_not_interrupted(
    verifier: Verifier, sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    with verifier.hold(link.issue("agent:x")) as held:
        assert held.record.subject == "agent:x"
        assert (held.revoked.is_set(), held.reason) == (False, None)
        sidecar.push(link.revoke("subject:agent:x"))
        assert held.revoked.wait(10)
        assert held.reason is Reason.REVOKED


def test_many_holds_under_one_tree_end_together(
    verifier: Verifier, sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    works = [HeldWork(verifier, link.issue("agent:x")) for _ in range(500)]

    async def main() -> None:
        async with asyncio.TaskGroup() as tasks:
            for work in works:
                tasks.create_task(work.run())
            for work in works:
                await work.began.wait()
            await asyncio.to_thread(sidecar.push, link.revoke("subject:agent:x"))

    asyncio.run(main())
    assert {work.reason for work in works} == {Reason.REVOKED}


async def test_a_look_up_that_hangs_delays_no_other_hit(
    verifier: Verifier, sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    slow, quick = (
        HeldWork(verifier, link.issue("agent:x")),
        HeldWork(verifier, link.issue("agent:y")),
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(slow.run())
        quick_task = tasks.create_task(quick.run())
        await slow.began.wait(), await quick.began.wait()
        resolved = link.resolved
        sidecar.do(lambda: setattr(link, "resolving", asyncio.Event()))
        sidecar.push(link.revoke("subject:agent:x"))
        while link.resolved == resolved:
            await asyncio.sleep(0.002)
        hanging, link.resolving = link.resolving, None  # what is asked from now on is answered
        sidecar.push(link.revoke("subject:agent:y"))
        await quick_task  # while the other one's look-up hangs
        assert quick.reason is Reason.REVOKED
        assert hanging is not None
        sidecar.do(hanging.set)
    # On a machine that stalls the sidecar may have given it up meanwhile.
    assert slow.reason in {Reason.REVOKED, Reason.UNAVAILABLE}


def test_a_token_that_is_first_seen_by_its_hold_is_looked_up_once(
    verifier: Verifier, sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    with verifier.hold(link.issue("agent:y")):  # the supervisor runs already
        asked = sidecar.tally.looks_from_memory + link.resolved
        sidecar.do(lambda: setattr(link, "resolving", asyncio.Event()))
        token = link.issue("agent:x")
        began, records = threading.Event(), []

        def work() -> None:
            with verifier.hold(token) as held:
                records.append(held.record)
                began.set()
                assert held.revoked.wait(10)

        thread = threading.Thread(target=work)
        thread.start()
        wait_until(lambda: link.resolved + sidecar.tally.looks_from_memory > asked)
        sidecar.push(link.revoke("subject:agent:z"))  # a look passes by
        wait_until(lambda: all(each.check_deferred for each in tuple(verifier._holds._registered)))
        hanging, link.resolving = link.resolving, None
        assert hanging is not None
        sidecar.do(hanging.set)
        assert began.wait(10)
        sidecar.push(link.revoke("subject:agent:x"))
        thread.join(10)
        assert not thread.is_alive()
        assert len(records) == 1


async def test_work_ends_with_the_lease_of_a_killed_sidecar(
    socket: Path,
) -> None:
    with separate(socket, term_ms=1_000) as (pid, (token, _)):
        async with attached(socket) as verifier:
            await accepted(verifier, token)
            work = HeldWork(verifier, token)
            async with asyncio.TaskGroup() as tasks:
                task = await work.start(tasks)
                await watched(verifier)
                os.kill(pid, signal.SIGKILL)
                killed_s = time.monotonic()
                while not task.done():
                    # As good as a check, to the end: never longer.
                    await asyncio.sleep(0.005)
            assert work.reason is Reason.NO_LEASE
            assert isinstance(verifier.check(token), Denied)
            timely(work.ended_s - killed_s > 0.3, work.ended_s - killed_s)
            soon(work.ended_s - killed_s, at_most_s=0.9 + SOON_S)


async def test_work_ends_with_the_lease_of_a_hanging_sidecar(socket: Path) -> None:
    with separate(socket, term_ms=1_000) as (pid, (token, _)):
        async with attached(socket) as verifier:
            await accepted(verifier, token)
            work = HeldWork(verifier, token)
            async with asyncio.TaskGroup() as tasks:
                await work.start(tasks)
                await watched(verifier)
                processes.stop(pid)
                stopped_s = time.monotonic()
            assert work.reason is Reason.NO_LEASE
            soon(work.ended_s - stopped_s, at_most_s=0.9 + SOON_S)


async def test_beside_a_frozen_sidecar_without_a_table_a_thousand_end_together_with_its_lease(
    socket: Path,
) -> None:
    with separate(socket, term_ms=3_000) as (pid, (token, other)):
        async with AsyncExitStack() as stack:
            mapped = await stack.enter_async_context(attached(socket))
            socket.with_suffix(".table").unlink()
            remote = await stack.enter_async_context(attached(socket))
            assert (mapped.shares_memory, remote.shares_memory) == (True, False)
            await accepted(mapped, other)
            await accepted(remote, token)
            works = [HeldWork(remote, token) for _ in range(1_000)]
            shown = HeldWork(mapped, other)
            async with asyncio.TaskGroup() as tasks:
                await shown.start(tasks)
                for begun in range(0, len(works), AT_ONCE):
                    few = works[begun : begun + AT_ONCE]
                    await asyncio.gather(*(work.start(tasks) for work in few))
                await watched(remote)
                processes.stop(pid)
            assert {work.reason for work in (shown, *works)} == {Reason.NO_LEASE}
            first_s, last_s = (end(work.ended_s for work in works) for end in (min, max))
            # Silence ends none of them, and the lease all of them. In rounds of 64, each as long
            # as a check waits, that would take 4 s.
            soon(last_s - first_s, at_most_s=len(works) / 64 * TIMEOUT_S / 2)
            # What the answers implied is no later than what the table shows.
            soon(first_s - shown.ended_s, at_most_s=SOON_S)


def test_work_goes_on_through_a_restart_and_the_new_sidecar_ends_it(
    socket: Path, link: LedgerInMemory
) -> None:
    good, doomed = link.issue("agent:good"), link.issue("agent:x")
    with ExitStack() as holds:
        with running(socket, link):
            verifier = Verifier.attach(socket, timeout_s=5)
            spared = holds.enter_context(verifier.hold(good))
            hit = holds.enter_context(verifier.hold(doomed))
        with running(socket, link) as sidecar:
            assert not hit.revoked.is_set()
            sidecar.push(link.revoke("subject:agent:x"))
            assert hit.revoked.wait(10)
            assert hit.reason is Reason.REVOKED
            assert not spared.revoked.is_set()
        # No other sidecar takes its place: after the time that a check has, the hold ends.
        assert spared.revoked.wait(10)
        assert spared.reason in {Reason.NO_LEASE, Reason.UNAVAILABLE}
    verifier.close()


def test_work_revoked_while_a_sidecar_was_down_ends_when_the_next_one_starts(
    socket: Path, link: LedgerInMemory
) -> None:
    token = link.issue("agent:x")
    with ExitStack() as holds:
        with running(socket, link):
            verifier = Verifier.attach(socket, timeout_s=5)
            held = holds.enter_context(verifier.hold(token))
        link.revoke("subject:agent:x")
        with running(socket, link):
            assert held.revoked.wait(10)
            assert held.reason is Reason.REVOKED
    verifier.close()


def test_a_new_epoch_does_not_end_work_whose_token_it_knows(
    verifier: Verifier, sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    with verifier.hold(link.issue("agent:x")) as held:
        first = sidecar.instances.current
        link.restore(0, epoch=2)
        wait_until(lambda: sidecar.instances.current is not first)
        wait_until(lambda: sidecar.leased)
        assert not held.revoked.is_set()
        sidecar.push(link.revoke("subject:agent:x"))
        assert held.revoked.wait(10)
        assert held.reason is Reason.REVOKED


@pytest.mark.parametrize("mapped", [True, False])
def test_during_a_flood_of_events_holds_are_checked_now_and_then(
    sidecar: RunningSidecar, link: LedgerInMemory, mapped: bool
) -> None:
    if not mapped:
        sidecar.path.with_suffix(".table").unlink()
    verifier = Verifier.attach(sidecar.path, timeout_s=5)
    with ExitStack() as holds:
        for _ in range(200):
            holds.enter_context(verifier.hold(link.issue("agent:x")))
        last = holds.enter_context(verifier.hold(link.issue("agent:y")))
        asked, began_s = sidecar.tally.looks_from_memory, time.monotonic()
        while time.monotonic() < began_s + 1:
            sidecar.push(link.revoke("subject:agent:z"))
        looks = (sidecar.tally.looks_from_memory - asked) / 200
        assert looks < (30 if not mapped else 1)
        sidecar.push(link.revoke("subject:agent:y"))
        assert last.revoked.wait(10)
    verifier.close()


def test_beside_a_sidecar_that_pushes_nothing_the_client_polls(
    sidecar: RunningSidecar, link: LedgerInMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = WorkloadConnection._process

    def take(connection: WorkloadConnection, request: Request) -> None:
        if isinstance(request, Watch):  # which an older sidecar does not know
            raise MalformedMessageError("request", "the tag 9 is not known")
        older(connection, request)

    monkeypatch.setattr(WorkloadConnection, "_process", take)
    verifier = Verifier.attach(sidecar.path, timeout_s=5)
    with verifier.hold(link.issue("agent:x")) as held:
        wait_until(lambda: sidecar.tally.messages_refused)
        began_s = time.monotonic()
        sidecar.push(link.revoke("subject:agent:x"))
        assert held.revoked.wait(10)
        soon(time.monotonic() - began_s, at_most_s=SOON_S)
        # It tries again, and not so often that it would be a nuisance.
        assert sidecar.tally.messages_refused < 5
    verifier.close()


def test_the_thread_ends_when_nothing_is_held_and_starts_again_with_the_next_hold(
    verifier: Verifier,
    sidecar: RunningSidecar,
    link: LedgerInMemory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registry, "_IDLE_S", 0.0)
    for number in range(3):
        with verifier.hold(link.issue(f"agent:{number}")) as held:
            thread = verifier._holds._thread
            assert thread is not None
            sidecar.push(link.revoke(f"subject:agent:{number}"))
            assert held.revoked.wait(10)
        thread.join(10)
        assert not thread.is_alive()
        assert verifier._holds._thread is None
    wait_until(lambda: not sidecar.watchers)


def test_if_the_thread_cannot_start_no_work_begins(
    verifier: Verifier, link: LedgerInMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = link.issue("agent:x")
    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", refuse)
        for _ in range(2):
            with pytest.raises(RuntimeError, match="new thread"), verifier.hold(token):
                pytest.fail("the body ran")
    assert not verifier._holds._registered
    with verifier.hold(token):
        assert verifier._holds._thread is not None


def refuse(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_the_garbage_collector_may_end_work_at_any_moment(
    verifier: Verifier, link: LedgerInMemory
) -> None:
    def stream(token: str) -> Generator[bytes]:
        with verifier.hold(token):
            yield b"a part"

    forgotten = stream(link.issue())
    next(forgotten)
    with verifier._holds._lock:  # as if in the middle of something else
        forgotten.close()
    assert not verifier._holds._registered


def test_if_the_thread_fails_all_held_work_ends_as_unavailable(
    verifier: Verifier, link: LedgerInMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken: list[object] = []
    monkeypatch.setattr(threading, "excepthook", broken.append)
    with verifier.hold(link.issue("agent:x")) as held:
        monkeypatch.setattr(verifier, "recall_request", None)
        assert held.revoked.wait(10)
        assert held.reason is Reason.UNAVAILABLE
    wait_until(lambda: broken)


def test_a_verifier_that_is_closed_ends_the_work(
    sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    verifier = Verifier.attach(sidecar.path, timeout_s=5)
    with verifier.hold(link.issue()) as held:
        verifier.close()
        assert held.revoked.wait(10)
        assert held.reason is Reason.UNAVAILABLE


def test_a_forked_child_watches_its_own_holds(
    verifier: Verifier, sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    issued = link.issue("agent:x"), link.issue("agent:y")
    with verifier.hold(issued[0]) as held, verifier.hold(issued[1]) as kept:
        wait_until(lambda: verifier._holds._monitor and verifier._holds._monitor.subscription.open)
        begun, begin = os.pipe()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                wait_until(
                    lambda: verifier._holds._monitor and verifier._holds._monitor.subscription.open
                )
                os.write(begin, b"!")
                if held.revoked.wait(10) and not kept.revoked.is_set():
                    code = 0
            finally:
                os._exit(code)
        assert os.read(begun, 1) == b"!"
        sidecar.push(link.revoke("subject:agent:x"))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert held.revoked.wait(10)
        assert not kept.revoked.is_set()
        os.close(begun)
        os.close(begin)
