"""A sidecar that restarts, hangs or goes, under traffic: no wrong answer, and none that is late."""

import asyncio
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from tests.support import processes
from tests.support.outcomes import soon
from tests.support.separate_sidecar import separate
from tests.support.sidecar import LedgerInMemory, running, wait_until

from rescind import Allowed, Denied, Reason, Verifier

PASSING = {Reason.NO_LEASE, Reason.UNAVAILABLE}
TIMEOUT_S = 0.25


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    return tmp_path / "search.sock"


def reason(verdict: Allowed | Denied) -> Reason | None:
    return verdict.reason if isinstance(verdict, Denied) else None


def not_ready(verifier: Verifier) -> bool:
    return not verifier.ready()


@dataclass
class CheckTraffic:
    """Threads that check without a pause, and what they saw."""

    verifier: Verifier
    good: list[str]
    revoked: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)
    latest_s: float = 0.0
    longest_outage_s: float = 0.0
    stopping: bool = False

    def allowed_more_than(self, times: int) -> bool:
        return self.seen["allowed"] > times

    def check_for_ever(self, offset: int) -> None:
        turn, last_good_s = offset, time.monotonic()
        while not self.stopping:
            turn += 1
            revoked = list(self.revoked)  # before the check: these were applied already
            began_s = time.monotonic()
            said = reason(self.verifier.check(self.good[turn % len(self.good)]))
            ended_s = time.monotonic()
            self.seen[said or "allowed"] += 1
            self.latest_s = max(self.latest_s, ended_s - began_s)
            if said is None:
                self.longest_outage_s = max(self.longest_outage_s, ended_s - last_good_s)
                last_good_s = ended_s
            elif said not in PASSING:
                self.wrong.append(f"a good token is {said}")
            if revoked:
                said = reason(self.verifier.check(revoked[turn % len(revoked)]))
                if said is not Reason.REVOKED and said not in PASSING:
                    self.wrong.append(f"a revoked token is {said or 'allowed'}")


@contextmanager
def traffic(verifier: Verifier, good: list[str]) -> Iterator[CheckTraffic]:
    calls = CheckTraffic(verifier, good)
    threads = [threading.Thread(target=calls.check_for_ever, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield calls
    finally:
        calls.stopping = True
        for thread in threads:
            thread.join(timeout=10)


def test_restarts_under_traffic_give_no_wrong_answer_and_end_by_themselves(socket: Path) -> None:
    link = LedgerInMemory()
    good = [link.issue("agent:good") for _ in range(50)]
    doomed = [(f"agent:{n}", link.issue(f"agent:{n}")) for n in range(12)]
    with running(socket, link):
        verifier = Verifier.attach(socket, timeout_s=TIMEOUT_S)
        for token in (*good, *(token for _, token in doomed)):
            verifier.check(token)
    with traffic(verifier, good) as calls:
        for number in range(6):
            with running(socket, link) as sidecar:
                wait_until(verifier.ready)
                wait_until(lambda: isinstance(verifier.check(good[0]), Allowed))
                subject, token = doomed[number]
                sidecar.push(link.revoke(f"subject:{subject}"))
                calls.revoked.append(token)
                seen = calls.seen["allowed"]
                wait_until(partial(calls.allowed_more_than, seen + 1000))
            subject, token = doomed[6 + number]
            link.revoke(f"subject:{subject}")  # while no sidecar runs
            assert not verifier.ready()
            assert reason(verifier.check(token)) in PASSING
            calls.revoked.append(token)
    verifier.close()
    assert calls.wrong == []
    assert calls.seen["allowed"] > 6000
    # The machines that run this are shared: a stall of a second is no finding.
    soon(calls.latest_s, at_most_s=TIMEOUT_S + 1)


def test_a_first_check_during_a_restart_waits_for_the_new_socket(socket: Path) -> None:
    link = LedgerInMemory()
    with running(socket, link):
        verifier = Verifier.attach(socket, timeout_s=5)
    verdicts: list[Reason | None] = []
    token = link.issue()
    asking = threading.Thread(target=lambda: verdicts.append(reason(verifier.check(token))))
    asking.start()
    with running(socket, link):
        asking.join(timeout=10)
        # It never had to fail for want of a socket; the lease may have come a moment later.
        assert verdicts[0] in {None, Reason.NO_LEASE}
        assert reason(verifier.check(token)) is None
    verifier.close()


def test_a_missing_sidecar_costs_one_call_its_deadline_and_later_calls_nothing(
    socket: Path,
) -> None:
    link = LedgerInMemory()
    with running(socket, link):
        verifier = Verifier.attach(socket, timeout_s=TIMEOUT_S)
    began_s = time.monotonic()
    assert reason(verifier.check(link.issue())) == Reason.UNAVAILABLE
    took_s = time.monotonic() - began_s
    assert took_s > TIMEOUT_S * 0.8
    soon(took_s, at_most_s=TIMEOUT_S + 1)
    began_s = time.monotonic()
    for _ in range(10):
        assert reason(verifier.check(link.issue())) == Reason.UNAVAILABLE
    soon(time.monotonic() - began_s, at_most_s=TIMEOUT_S)
    verifier.close()


async def test_a_hanging_sidecar_costs_a_check_at_most_its_deadline(
    socket: Path,
) -> None:
    with separate(socket, term_ms=2_000) as (pid, (hot, cold)):
        verifier = await asyncio.to_thread(Verifier.attach, socket, timeout_s=TIMEOUT_S)
        remote = await asyncio.to_thread(Verifier.attach, socket, timeout_s=TIMEOUT_S)
        wait_until(lambda: reason(verifier.check(hot)) is None)
        processes.stop(pid)
        for _ in range(3):
            began_s = time.monotonic()
            assert reason(verifier.check(cold)) == Reason.UNAVAILABLE
            soon(time.monotonic() - began_s, at_most_s=TIMEOUT_S + 0.2)
            began_s = time.monotonic()
            assert reason(await remote.acheck(cold)) == Reason.UNAVAILABLE
            soon(time.monotonic() - began_s, at_most_s=TIMEOUT_S + 0.2)
        # Many at once wait side by side, not one after the other.
        began_s = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            jobs = [tasks.create_task(remote.acheck(cold)) for _ in range(200)]
        assert {reason(job.result()) for job in jobs} == {Reason.UNAVAILABLE}
        soon(time.monotonic() - began_s, at_most_s=TIMEOUT_S + 0.5)
        # What is in memory goes on until the lease ends, and not a moment longer.
        wait_until(lambda: reason(verifier.check(hot)) == Reason.NO_LEASE)
        assert not verifier.ready()
        os.kill(pid, signal.SIGCONT)
        wait_until(lambda: reason(verifier.check(hot)) is None)
        assert verifier.ready()
        verifier.close()
        remote.close()
        await asyncio.sleep(0)


def test_ready_means_holding_a_lease_with_and_without_a_table(socket: Path) -> None:
    link = LedgerInMemory(term_ms=500)
    with running(socket, link):
        mapped = Verifier.attach(socket, timeout_s=5)
        table = socket.with_suffix(".table")
        hidden = table.rename(table.with_suffix(".hidden"))
        remote = Verifier.attach(socket, timeout_s=5)
        hidden.rename(table)
        assert (mapped.shares_memory, remote.shares_memory) == (True, False)
        for verifier in (mapped, remote):
            wait_until(verifier.ready)
        link.reachable = False
        for verifier in (mapped, remote):
            wait_until(partial(not_ready, verifier))
        link.reachable = True
        for verifier in (mapped, remote):
            wait_until(verifier.ready)
    assert not mapped.ready()
    assert not remote.ready()
    mapped.close()
    remote.close()
