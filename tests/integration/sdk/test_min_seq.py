"""A check that demands a position of the ledger never answers from before it.

The race is Zanzibar's "new enemy": a revocation has returned in one place, and a check that begins
after it in another place still accepts, because the push is on its way.
"""

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.outcomes import timely
from tests.support.sidecar import LedgerInMemory, RunningSidecar, running

from rescind import Allowed, Denied, Reason, Verifier
from rescind.client import table_reader
from rescind.core import token_format
from rescind.core.token_format import Kind
from rescind.wire import socket_protocol as wire

ROUNDS = 60


@pytest.fixture
def link() -> LedgerInMemory:
    return LedgerInMemory(term_ms=600_000)


@pytest.fixture
def sidecar(tmp_path: Path, link: LedgerInMemory) -> Iterator[RunningSidecar]:
    # It beats so seldom, also by its term, that no heartbeat brings what a test holds back.
    with running(tmp_path / "search.sock", link, interval_s=30) as sidecar:
        yield sidecar


@pytest.fixture(params=["table", "socket alone"])
def verifier(
    sidecar: RunningSidecar, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Verifier]:
    if request.param == "socket alone":
        monkeypatch.setattr(table_reader, "ORDERED_MACHINES", frozenset[str]())
    verifier = Verifier.attach(sidecar.path, timeout_s=5)
    assert verifier.shares_memory == (request.param == "table")
    yield verifier
    verifier.close()


def reason(verdict: Allowed | Denied) -> Reason | None:
    return verdict.reason if isinstance(verdict, Denied) else None


def test_a_check_after_a_revocation_denies_though_the_push_is_held_back(
    verifier: Verifier, link: LedgerInMemory
) -> None:
    token, other = link.issue("agent:x"), link.issue("agent:y")
    assert isinstance(verifier.check(token), Allowed)
    link.revoke("subject:agent:x")  # what NATS would bring is never pushed
    assert isinstance(verifier.check(token), Allowed)
    assert reason(verifier.check(token, min_seq=1)) == Reason.REVOKED
    assert reason(verifier.check(token)) == Reason.REVOKED
    assert isinstance(verifier.check(other, min_seq=1), Allowed)


async def test_the_awaited_check_demands_the_position_too(
    verifier: Verifier, link: LedgerInMemory
) -> None:
    token = link.issue("agent:x")
    assert isinstance(await verifier.acheck(token), Allowed)
    link.revoke("subject:agent:x")
    assert verifier.recall(token, min_seq=1) is None
    assert reason(await verifier.acheck(token, min_seq=1)) == Reason.REVOKED


def test_a_position_that_is_applied_already_is_answered_without_the_authority(
    sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    verifier = Verifier.attach(sidecar.path, timeout_s=5)
    token = link.issue("agent:y")
    sidecar.push(link.revoke("subject:agent:x"))
    verifier.check(token)
    link.reachable = False
    looks = sidecar.tally.looks_from_memory
    assert isinstance(verifier.check(token, min_seq=1), Allowed)
    assert isinstance(verifier.recall(token, min_seq=1), Allowed)
    assert sidecar.tally.looks_from_memory == looks
    verifier.close()


def test_a_sidecar_many_events_behind_fetches_all_of_them(
    verifier: Verifier, link: LedgerInMemory
) -> None:
    token = link.issue("agent:x")
    verifier.check(token)
    for number in range(600):  # three answers' worth
        link.revoke(f"subject:agent:{number}")
    link.revoke("subject:agent:x")
    verdict = verifier.check(token, min_seq=601)
    assert isinstance(verdict, Denied)
    timely(verdict.reason is Reason.REVOKED, verdict)  # the sidecar has a deadline of its own


def test_a_position_that_cannot_be_reached_is_unavailable_and_costs_no_memory(
    sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    verifier = Verifier.attach(sidecar.path, timeout_s=1)
    token = link.issue()
    assert isinstance(verifier.check(token), Allowed)
    met = verifier._connection
    link.reachable = False
    assert reason(verifier.check(token, min_seq=1)) == Reason.UNAVAILABLE
    link.reachable = True
    assert reason(verifier.check(token, min_seq=(1 << 64) - 1)) == Reason.UNAVAILABLE
    assert verifier._connection is met
    assert isinstance(verifier.recall(token), Allowed)
    verifier.close()


def test_invented_positions_cost_the_authority_little(
    sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    verifier = Verifier.attach(sidecar.path, timeout_s=5)
    token = link.issue()
    verifier.check(token)
    began_s = time.monotonic()
    with ThreadPoolExecutor(16) as workers:
        verdicts = list(workers.map(lambda seq: verifier.check(token, min_seq=seq), range(9, 99)))
    took_s = time.monotonic() - began_s
    assert {reason(verdict) for verdict in verdicts} == {Reason.UNAVAILABLE}
    assert link.asked_since <= 2 + took_s * 40
    verifier.close()


def test_a_forged_token_is_refused_before_any_events_are_fetched(
    sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    verifier = Verifier.attach(sidecar.path, timeout_s=5)
    good = link.issue()
    assert isinstance(verifier.check(good), Allowed)
    forged = token_format.mint(kind=Kind.AGENT, random=bytes(32), edge_key=b"x" * 32).reveal()
    before = link.asked_since
    for _ in range(10):
        assert reason(verifier.check(forged, min_seq=99)) == Reason.UNKNOWN
        assert reason(verifier.check("rsc_agt_x", min_seq=99)) == Reason.MALFORMED
    assert sidecar.tally.forgeries == 10
    assert link.asked_since == before
    assert reason(verifier.check(good, min_seq=99)) == Reason.UNAVAILABLE
    assert link.asked_since > before
    verifier.close()


def test_without_a_lease_a_demanded_position_is_denied_at_once(
    sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    verifier = Verifier.attach(sidecar.path, timeout_s=5)
    token = link.issue()
    sidecar.do(lambda: setattr(sidecar.instances.current.view.leases, "ends_ns", 0))
    asked = link.asked_since
    assert reason(verifier.check(token, min_seq=1)) == Reason.NO_LEASE
    assert link.asked_since == asked
    verifier.close()


def test_an_answer_of_a_sidecar_that_ignores_the_demanded_position_is_not_accepted(
    verifier: Verifier, sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    token = link.issue("agent:x")
    verifier.check(token)
    link.revoke("subject:agent:x")
    answer = sidecar.server.answer_from_memory

    def older(request: wire.Clock | wire.Look | wire.Check) -> wire.Response | None:
        return answer(request if isinstance(request, wire.Clock) else replace(request, min_seq=0))

    sidecar.do(lambda: setattr(sidecar.server, "answer_from_memory", older))
    assert isinstance(verifier.check(token), Allowed)
    assert reason(verifier.check(token, min_seq=1)) == Reason.UNAVAILABLE


def test_no_check_that_demands_the_revocation_ever_accepts(
    verifier: Verifier, sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    random_source = random.Random(7)
    with ThreadPoolExecutor(4) as workers:
        for number in range(ROUNDS):
            token = link.issue(f"agent:{number}")
            assert isinstance(verifier.check(token), Allowed)
            batch = link.revoke(f"subject:agent:{number}")
            seq = link.position.seq
            pushing = threading.Timer(random_source.uniform(0, 0.004), sidecar.push, [batch])
            pushing.start()
            demand = [workers.submit(verifier.check, token, min_seq=seq) for _ in range(4)]
            assert {reason(each.result()) for each in demand} == {Reason.REVOKED}
            pushing.join()
