"""A sidecar under load: one workload's flood is that workload's trouble, and nothing grows."""

import socket
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.support import processes
from tests.support.outcomes import in_time, soon
from tests.support.processes import clean_environment
from tests.support.sidecar import LedgerInMemory, RunningSidecar, running, wait_until

from rescind import Denied, Reason
from rescind.core import token_format
from rescind.wire.socket_protocol import Frames, Look, encode_request
from rescind_sidecar.socket import server
from rescind_sidecar.usecases.lookup.answer import ValidRecord
from rescind_sidecar.usecases.lookup.lookup_budgets import LookupLimits, LookupSource

LIMITS = LookupLimits(per_s=200, burst=400)
WORKLOAD = LookupSource(user=1, process=1)
OTHER = LookupSource(user=1, process=2)


@pytest.fixture
def link() -> LedgerInMemory:
    return LedgerInMemory(term_ms=5_000)


@pytest.fixture
def sidecar(tmp_path: Path, link: LedgerInMemory) -> Iterator[RunningSidecar]:
    with running(tmp_path / "search.sock", link, limits=LIMITS) as sidecar:
        yield sidecar


def unknown_token() -> str:
    return LedgerInMemory().issue()


def reason(found: ValidRecord | Denied) -> Reason | None:
    return found.reason if isinstance(found, Denied) else None


def test_a_flood_of_one_workload_starves_neither_heartbeats_nor_another(
    sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    tally = sidecar.tally
    with processes.running(
        "-m", "tests.support.flood", str(sidecar.path), environ=clean_environment()
    ):
        wait_until(lambda: tally.looks_over_budget > 5_000)
        beats, refused, took_s = tally.heartbeats, tally.looks_over_budget, []
        ends = time.monotonic() + 20  # on a machine of its own, half a second
        while tally.heartbeats - beats < 10 or tally.looks_over_budget - refused < 1_000:
            in_time(ends, f"{tally.heartbeats - beats} heartbeats")
            began = time.monotonic()
            assert reason(sidecar.look(link.issue(), source=WORKLOAD)) is None
            took_s.append(time.monotonic() - began)
            assert sidecar.leased
            time.sleep(0.01)
        soon(statistics.median(took_s), at_most_s=0.1)
    # What was let through to the authority is what the budget says, and no more.
    assert link.resolved < 400 + 200 * 30


def test_a_workload_over_its_budget_gets_unavailable_and_another_one_does_not(
    sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    strangers = [unknown_token() for _ in range(1_000)]  # first: meanwhile the budget would grow
    answers = [reason(sidecar.look(each, source=WORKLOAD)) for each in strangers]
    assert answers[:400] == [Reason.UNKNOWN] * 400
    assert set(answers[400:]) == {Reason.UNKNOWN, Reason.UNAVAILABLE}
    assert reason(sidecar.look(link.issue(), source=OTHER)) is None


def test_an_answer_from_memory_costs_no_budget(
    sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    good, unknown = link.issue(), unknown_token()
    for token in (good, unknown):
        sidecar.look(token, source=WORKLOAD)
    for _ in range(1_000):
        sidecar.look(unknown_token(), source=WORKLOAD)
    assert reason(sidecar.look(good, source=WORKLOAD)) is None


def test_an_unknown_token_costs_one_look_up_a_second(
    sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    token = unknown_token()
    began = time.monotonic()
    for _ in range(500):
        assert reason(sidecar.look(token)) is Reason.UNKNOWN
    assert link.resolved <= 1 + (time.monotonic() - began)
    assert sidecar.tally.looks_known_unknown >= 490


def test_a_token_that_is_issued_after_it_was_checked_is_soon_accepted(
    sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    elsewhere = LedgerInMemory()
    token = elsewhere.issue()
    assert reason(sidecar.look(token)) is Reason.UNKNOWN
    link.adopt(elsewhere, token)
    wait_until(lambda: reason(sidecar.look(token)) is None)


def test_many_requests_in_one_write_are_all_answered(
    sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    asked = [link.issue() for _ in range(300)] + [unknown_token()] * 3_000
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(20)
        connection.connect(str(sidecar.path))
        connection.sendall(
            b"".join(encode_request(Look(number, token)) for number, token in enumerate(asked))
        )
        frames, answers = Frames(), 0
        while answers < 1 + len(asked):  # the greeting is one
            answers += len(frames.feed(connection.recv(1 << 20)))


def test_a_frame_longer_than_any_request_ends_the_connection(sidecar: RunningSidecar) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(5)
        connection.connect(str(sidecar.path))
        connection.sendall((65_537).to_bytes(4))
        while connection.recv(65_536):
            pass
    assert sidecar.tally.messages_refused == 1


def test_one_workload_cannot_take_every_connection(
    sidecar: RunningSidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_MAX_PER_SOURCE", 16)
    with ExitStack() as opened:
        for _ in range(20):
            connection = opened.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            connection.connect(str(sidecar.path))
        wait_until(lambda: sidecar.tally.connections_refused == 4)
        assert len(sidecar.server.connections) == 16
    wait_until(lambda: not sidecar.server.connections)


def test_tokens_in_use_are_reported_once_each_and_again_if_no_authority_received_it(
    sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    good = [link.issue() for _ in range(3)]
    for token in [*good, *good, unknown_token()]:
        sidecar.look(token)
    sidecar.report()
    (report,) = link.reported
    assert len(report.token_ids) == 3
    assert report.instance == sidecar.instances.current.instance
    assert set(report.token_ids) == {
        held.record.token_id
        for held in map(sidecar.instances.current.view.find, map(token_format.digest, good))
        if held is not None
    }
    sidecar.report()
    assert len(link.reported) == 1
    sidecar.look(good[0])
    link.reachable = False
    sidecar.report()
    assert (sidecar.tally.uses_reported, sidecar.tally.uses_lost) == (3, 0)
    link.reachable = True
    sidecar.report()
    assert (sidecar.tally.uses_reported, len(link.reported)) == (4, 2)
