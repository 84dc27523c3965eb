"""The SDK against a real socket and a real table."""

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.sidecar import (
    EDGE_KEY,
    HOUR_US,
    LedgerInMemory,
    RunningSidecar,
    now_us,
    running,
    wait_until,
)

from rescind import Allowed, Denied, Reason, UnreachableError, Verifier
from rescind.client import clock as client_clock
from rescind.client.table_reader import MappedTable
from rescind.core import token_format
from rescind.core.posture import Posture
from rescind.core.token_format import Kind
from rescind_runtime import clock as runtime_clock


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
    # Longer than a workload would wait: these machines are shared, and a stall is no finding.
    verifier = Verifier.attach(socket, timeout_s=5)
    yield verifier
    verifier.close()


def reason(verdict: Allowed | Denied) -> Reason | None:
    return verdict.reason if isinstance(verdict, Denied) else None


def forge() -> str:
    return token_format.mint(kind=Kind.AGENT, random=os.urandom(32), edge_key=b"?" * 32).reveal()


def test_a_good_token_is_allowed_and_brings_its_record(
    verifier: Verifier, link: LedgerInMemory
) -> None:
    token = link.issue("agent:billing-bot", scopes=("a", "b"))
    verdict = verifier.check(token, require={"a"})
    assert isinstance(verdict, Allowed)
    assert verdict.record.subject == "agent:billing-bot"
    assert verdict.record.scopes == {"a", "b"}
    assert verifier.shares_memory
    assert verifier.service == "search"


def test_the_second_check_sends_no_request(
    verifier: Verifier, sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    token = link.issue()
    verifier.check(token)
    looks = sidecar.tally.looks_from_memory
    for _ in range(100):
        assert isinstance(verifier.check(token), Allowed)
    assert (link.resolved, sidecar.tally.looks_from_memory) == (1, looks)


@pytest.mark.parametrize("asked_by", ["check", "acheck"])
async def test_a_lost_connection_causes_no_second_look_up_of_a_token(
    asked_by: str, verifier: Verifier, sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    async def checked(token: str) -> Allowed | Denied:
        if asked_by == "check":
            return await asyncio.to_thread(verifier.check, token)
        return await verifier.acheck(token)

    first, revoked, later = link.issue("agent:y"), link.issue("agent:x"), link.issue("agent:y")
    for token in (first, revoked):
        assert isinstance(await checked(token), Allowed)
    sidecar.do(sidecar.hang_up)
    assert isinstance(await checked(later), Allowed)
    assert isinstance(verifier.recall(first), Allowed), "it is the same table"
    sidecar.push(link.revoke("subject:agent:x"))
    assert reason(await checked(revoked)) == Reason.REVOKED
    assert isinstance(verifier.recall(later), Allowed)


def test_every_reason_of_a_denial_is_reported(verifier: Verifier, link: LedgerInMemory) -> None:
    unknown = token_format.mint(kind=Kind.AGENT, random=os.urandom(32), edge_key=EDGE_KEY).reveal()
    assert reason(verifier.check("nonsense")) == Reason.MALFORMED
    assert reason(verifier.check("")) == Reason.MALFORMED
    assert reason(verifier.check("\ud800")) == Reason.MALFORMED
    assert reason(verifier.check(unknown)) == Reason.UNKNOWN
    past, future = now_us() - HOUR_US, now_us() + HOUR_US
    assert reason(verifier.check(link.issue(expires_at_us=past))) == Reason.EXPIRED
    assert reason(verifier.check(link.issue(not_before_us=future))) == Reason.NOT_YET_VALID
    elsewhere = link.issue(audience=("billing",))
    assert reason(verifier.check(elsewhere)) == Reason.WRONG_AUDIENCE
    assert reason(verifier.check(elsewhere, audience="billing")) is None
    poor = link.issue(scopes=("a",))
    assert reason(verifier.check(poor, require={"a", "b"})) == Reason.INSUFFICIENT_SCOPE


def test_a_forged_token_is_refused_without_a_look_up(
    verifier: Verifier, sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    assert reason(verifier.check(forge())) == Reason.UNKNOWN
    assert (sidecar.tally.forgeries, link.resolved) == (1, 0)


def test_a_revoked_token_is_denied_as_soon_as_the_event_is_applied(
    verifier: Verifier, sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    hit, spared = link.issue("agent:x"), link.issue("agent:y")
    verifier.check(hit), verifier.check(spared)
    sidecar.push(link.revoke("subject:agent:x"))
    assert reason(verifier.check(hit)) == Reason.REVOKED
    assert isinstance(verifier.check(spared), Allowed)


def test_a_token_that_ends_is_denied_without_an_event(
    verifier: Verifier, link: LedgerInMemory
) -> None:
    token = link.issue(expires_at_us=now_us() + 1_000_000)
    assert isinstance(verifier.check(token), Allowed)
    wait_until(lambda: reason(verifier.check(token)) == Reason.EXPIRED)


def test_an_unknown_effect_counts_as_a_hit(
    verifier: Verifier, sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    token = link.issue()
    verifier.check(token)
    sidecar.push(link.revoke("subject:agent:x", effect="banish"))
    assert reason(verifier.check(token)) == Reason.REVOKED


def test_a_slow_fill_does_not_resurrect_a_revoked_token(
    verifier: Verifier, sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    token = link.issue("agent:x")
    sidecar.do(lambda: setattr(link, "resolving", asyncio.Event()))
    verdicts: list[Allowed | Denied] = []
    asking = threading.Thread(target=lambda: verdicts.append(verifier.check(token)))
    asking.start()
    wait_until(lambda: link.resolved == 1)  # read as live, and now on its way
    sidecar.push(link.revoke("subject:agent:x"))
    slow, link.resolving = link.resolving, None
    assert slow is not None
    sidecar.do(slow.set)
    asking.join(timeout=10)
    assert [reason(verdict) for verdict in verdicts] == [Reason.REVOKED]


def test_one_look_up_serves_all_concurrent_checks_of_a_token(
    verifier: Verifier, sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    token = link.issue()
    sidecar.do(lambda: setattr(link, "resolving", asyncio.Event()))
    verdicts: list[Allowed | Denied] = []
    threads = [
        threading.Thread(target=lambda: verdicts.append(verifier.check(token))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(sidecar.server.connections) >= 8)
    slow, link.resolving = link.resolving, None
    assert slow is not None
    sidecar.do(slow.set)
    for thread in threads:
        thread.join(timeout=10)
    assert len(verdicts) == 8
    assert all(isinstance(verdict, Allowed) for verdict in verdicts)
    assert link.resolved == 1


def test_without_a_lease_every_check_is_denied(socket: Path, link: LedgerInMemory) -> None:
    link.reachable = False
    with running(socket, link):
        verifier = Verifier.attach(socket, timeout_s=5)
        assert reason(verifier.check(link.issue())) == Reason.NO_LEASE
        link.reachable = True
        token = link.issue()
        wait_until(lambda: isinstance(verifier.check(token), Allowed))
        verifier.close()


def test_a_sidecar_that_is_cut_off_denies_when_its_lease_ends_and_recovers_by_itself(
    socket: Path,
) -> None:
    link = LedgerInMemory(term_ms=500)
    with running(socket, link):
        verifier = Verifier.attach(socket, timeout_s=5)
        token = link.issue()
        wait_until(lambda: isinstance(verifier.check(token), Allowed))
        link.reachable = False
        wait_until(lambda: reason(verifier.check(token)) == Reason.NO_LEASE)
        link.reachable = True
        wait_until(lambda: isinstance(verifier.check(token), Allowed))
        verifier.close()


def test_after_the_machine_was_suspended_no_lease_is_left(
    socket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # CLOCK_BOOTTIME counts the sleep, which CLOCK_MONOTONIC does not: every lease ends in it.
    link = LedgerInMemory(term_ms=60_000)
    with running(socket, link):
        verifier = Verifier.attach(socket, timeout_s=5)
        token = link.issue("agent:x")
        assert isinstance(verifier.check(token), Allowed)
        link.reachable = False
        link.revoke("subject:agent:x")  # while it slept
        hour_ns, awake = 3_600 * 10**9, runtime_clock.boottime_ns
        for module in (client_clock, runtime_clock):
            monkeypatch.setattr(module, "boottime_ns", lambda: awake() + hour_ns)
        assert reason(verifier.check(token)) == Reason.NO_LEASE
        other = Verifier.attach(socket, timeout_s=5)
        assert reason(other.check(token)) == Reason.NO_LEASE
        link.reachable = True
        wait_until(lambda: reason(verifier.check(token)) == Reason.REVOKED)
        other.close()
        verifier.close()


def test_grace_goes_on_after_the_lease_for_the_kinds_it_names_and_then_ends(
    socket: Path,
) -> None:
    link = LedgerInMemory(term_ms=500)
    with running(socket, link, posture=Posture.parse("grace:session=2s")) as sidecar:
        verifier = Verifier.attach(socket, timeout_s=5)
        agent, fresh = link.issue(), link.issue("user:2", kind=Kind.SESSION)
        session = link.issue("user:1", kind=Kind.SESSION)
        for token in (agent, session):
            assert isinstance(verifier.check(token), Allowed)
        link.reachable = False
        wait_until(lambda: reason(verifier.check(agent)) == Reason.NO_LEASE)
        # In grace: what was known goes on, is not called fresh, and nothing new is believed.
        assert isinstance(verifier.check(session), Allowed)
        assert verifier.freshness().fresh_for_ms == 0
        assert not verifier.ready()
        assert reason(verifier.check(fresh)) == Reason.NO_LEASE
        other = Verifier.attach(socket, timeout_s=5)  # another process of the workload
        assert isinstance(other.check(session), Allowed)
        assert sidecar.tally.looks_in_grace > 0
        assert reason(other.check(agent)) == Reason.NO_LEASE
        wait_until(lambda: reason(verifier.check(session)) == Reason.NO_LEASE)
        assert reason(other.check(session)) == Reason.NO_LEASE
        other.close()
        verifier.close()


def test_a_sidecar_that_stops_ends_its_grace_too(socket: Path) -> None:
    link = LedgerInMemory(term_ms=60_000)
    with running(socket, link, posture=Posture.parse("grace:session=1h")):
        verifier = Verifier.attach(socket, timeout_s=0.1)
        session = link.issue("user:1", kind=Kind.SESSION)
        wait_until(lambda: isinstance(verifier.check(session), Allowed))
    assert isinstance(verifier.check(session), Denied)
    verifier.close()


def test_events_that_a_cut_off_sidecar_missed_come_before_its_next_lease(socket: Path) -> None:
    link = LedgerInMemory(term_ms=500)
    with running(socket, link) as sidecar:
        verifier = Verifier.attach(socket, timeout_s=5)
        token = link.issue("agent:x")
        wait_until(lambda: isinstance(verifier.check(token), Allowed))
        link.reachable = False
        link.revoke("subject:agent:x")  # the push is lost
        for _ in range(400):
            link.revoke("subject:agent:other")
        wait_until(lambda: reason(verifier.check(token)) == Reason.NO_LEASE)
        link.reachable = True
        wait_until(lambda: reason(verifier.check(token)) == Reason.REVOKED)
        assert sidecar.instances.current.view.applied == link.position
        verifier.close()


def test_a_lost_push_is_fetched_when_the_next_one_shows_the_gap(
    socket: Path, link: LedgerInMemory
) -> None:
    link.term_ms = 600_000  # a heartbeat comes at least each quarter of it, and may not do it
    with running(socket, link, interval_s=60) as sidecar:
        verifier = Verifier.attach(socket, timeout_s=5)
        token = link.issue("agent:x")
        verifier.check(token)
        link.revoke("subject:agent:x")
        sidecar.push(link.revoke("subject:agent:y"))
        wait_until(lambda: reason(verifier.check(token)) == Reason.REVOKED)
        verifier.close()


def test_a_replayed_a_forged_and_a_mangled_push_change_nothing(
    sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    batch = link.revoke("subject:agent:x")
    sidecar.push(batch)
    sidecar.push(batch)
    applied = sidecar.instances.current.view.applied
    forger = LedgerInMemory()
    forger.revoke("subject:agent:z")
    sidecar.push(forger.revoke("subject:agent:forged"))  # its seq fits, its history does not
    sidecar.push(b"\xc1garbage")
    assert sidecar.instances.current.view.applied == applied == link.position
    assert sidecar.tally.messages_refused == 2


def test_a_ledger_that_went_back_ends_the_instance_and_denies_until_the_new_one_has_a_lease(
    verifier: Verifier, sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    token = link.issue("agent:x")
    verifier.check(token)
    for _ in range(3):
        sidecar.push(link.revoke("subject:agent:other"))
    first = sidecar.instances.current
    wait_until(lambda: sidecar.tally.heartbeats > 1)
    link.restore(1, epoch=1)
    wait_until(lambda: sidecar.instances.current is not first)
    wait_until(lambda: sidecar.leased)
    wait_until(lambda: isinstance(verifier.check(token), Allowed))
    assert sidecar.instances.current.instance != first.instance
    assert sidecar.instances.current.view.applied == link.position


def test_a_new_epoch_ends_the_instance(sidecar: RunningSidecar, link: LedgerInMemory) -> None:
    first = sidecar.instances.current
    link.restore(0, epoch=2)
    wait_until(lambda: sidecar.instances.current is not first)
    wait_until(lambda: sidecar.leased)
    assert sidecar.instances.current.view.applied == link.position


def test_an_awaited_event_is_acknowledged_with_the_position_it_led_to(
    sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    sidecar.push(link.revoke("subject:agent:x", awaited=True))
    wait_until(lambda: link.acknowledged)
    (ack,) = link.acknowledged
    assert (ack.instance, ack.applied) == (
        sidecar.instances.current.instance,
        link.position,
    )


def test_a_verifier_reconnects_to_a_restarted_sidecar_without_a_wrong_answer(
    socket: Path, link: LedgerInMemory
) -> None:
    good, revoked = link.issue("agent:good"), link.issue("agent:x")
    with running(socket, link):
        verifier = Verifier.attach(socket, timeout_s=5)
        assert isinstance(verifier.check(good), Allowed)
        assert isinstance(verifier.check(revoked), Allowed)
    link.revoke("subject:agent:x")
    assert reason(verifier.check(good)) == Reason.NO_LEASE
    with running(socket, link):
        assert isinstance(verifier.check(good), Allowed)
        assert reason(verifier.check(revoked)) == Reason.REVOKED
        assert verifier.shares_memory
    verifier.close()


def test_the_table_of_a_killed_sidecar_is_not_used_once_another_has_started(
    socket: Path, link: LedgerInMemory, tmp_path: Path
) -> None:
    with running(socket, link):
        old = MappedTable.open(socket.with_suffix(".table"))
        # What a SIGKILL leaves: the table in its place, its deadlines in the future.
        left = tmp_path / "left.table"
        os.link(socket.with_suffix(".table"), left)
    os.link(left, socket.with_suffix(".table"))
    with running(socket, link):
        assert all(old.words[word] == 0 for word in range(16, 21))
        assert old.replaced()


def test_threads_and_forked_children_share_one_verifier(
    verifier: Verifier, sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    seen, fresh = link.issue("agent:x"), link.issue("agent:x")
    verifier.check(seen)
    child = os.fork()
    if child == 0:
        both = (verifier.check(seen), verifier.check(fresh))
        os._exit(0 if all(isinstance(verdict, Allowed) for verdict in both) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    sidecar.push(link.revoke("subject:agent:x"))
    verdicts: list[Reason | None] = []

    def work() -> None:
        verdicts.extend(reason(verifier.check(token)) for token in (seen, fresh))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert verdicts == [Reason.REVOKED] * 8


async def test_acheck_awaits_at_the_first_check_of_a_token_and_not_again(
    verifier: Verifier, link: LedgerInMemory
) -> None:
    token = link.issue()
    first, second = await asyncio.gather(verifier.acheck(token), verifier.acheck(token))
    assert isinstance(first, Allowed)
    assert isinstance(second, Allowed)
    again = verifier.acheck(token)
    with pytest.raises(StopIteration) as done:
        again.send(None)  # it returns at its first step: nothing was awaited
    assert isinstance(done.value.value, Allowed)
    verifier.close()
    for _ in range(3):  # the loop's own steps from close() to the closed socket
        await asyncio.sleep(0)


def test_entries_are_bounded_and_the_first_in_is_the_first_out(
    sidecar: RunningSidecar, link: LedgerInMemory, socket: Path
) -> None:
    verifier = Verifier.attach(socket, timeout_s=5, most_entries=10)
    issued = [link.issue() for _ in range(25)]
    for token in issued:
        assert isinstance(verifier.check(token), Allowed)
    assert list(verifier._connection._entries) == issued[-10:]
    verifier.close()


@pytest.mark.parametrize(("name", "why"), [("none", "No such file"), ("a" * 120, "too long")])
def test_if_nothing_listens_attach_names_the_socket_and_the_reason(
    name: str, why: str, tmp_path: Path
) -> None:
    with pytest.raises(UnreachableError, match=rf"no sidecar answers at .*{name}\.sock .*{why}"):
        Verifier.attach(tmp_path / f"{name}.sock")


def test_without_a_valid_table_every_check_asks_the_socket(
    socket: Path, link: LedgerInMemory, sidecar: RunningSidecar
) -> None:
    socket.with_suffix(".table").unlink()  # as where the volume is not shared
    verifier = Verifier.attach(socket, timeout_s=5)
    token = link.issue("agent:x", scopes=("a",), audience=("search",))
    assert not verifier.shares_memory
    assert isinstance(verifier.check(token, require={"a"}), Allowed)
    assert reason(verifier.check(token, require={"b"})) == Reason.INSUFFICIENT_SCOPE
    assert reason(verifier.check(token, audience="billing")) == Reason.WRONG_AUDIENCE
    sidecar.push(link.revoke("subject:agent:x"))
    assert reason(verifier.check(token)) == Reason.REVOKED
    verifier.close()
