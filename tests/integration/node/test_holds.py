"""Work that a client in Node holds ends when a check of its token would be denied."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import processes
from tests.support.eventually import eventually
from tests.support.node_driver import NodeDriver
from tests.support.separate_sidecar import separate
from tests.support.sidecar import LedgerInMemory, RunningSidecar, now_us, running, wait_until

from rescind.core.posture import Posture

_SWEEP_MS_PER_HOLD = 0.4
_RESTART_MS = 8_000
"""Below the lease term of the ledger in memory, and longer than a busy machine needs to restart."""


@pytest.fixture
def link() -> LedgerInMemory:
    return LedgerInMemory()


@pytest.fixture
def sidecar(tmp_path: Path, link: LedgerInMemory) -> Iterator[RunningSidecar]:
    with running(tmp_path / "search.sock", link) as sidecar:
        yield sidecar


EFFECTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "revoked": ("revoke", ()),
    "suspended": ("suspend", ()),
    "insufficient_scope": ("narrow", ("tools:*",)),
}


@pytest.mark.parametrize("reason", EFFECTS)
async def test_a_hit_ends_the_work_with_its_reason(
    node: NodeDriver, sidecar: RunningSidecar, link: LedgerInMemory, reason: str
) -> None:
    effect, scopes = EFFECTS[reason]
    token, other = link.issue("agent:x"), link.issue("agent:y")
    hold, answer = await node.hold(token, require=["tools:call"])
    spared, _ = await node.hold(other, require=["tools:call"])
    assert answer["record"]["subject"] == "agent:x"
    sidecar.push(link.revoke("subject:agent:x", effect=effect, scopes=scopes))
    assert await node.ended(hold) == reason
    assert await node.reason(other) is None
    assert not node.has_answer(spared)


async def test_work_begins_only_with_a_good_token(
    node: NodeDriver, sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    _, answer = await node.hold(link.issue(), require=["admin:all"])
    assert answer == {"allowed": False, "reason": "insufficient_scope"}


async def test_a_token_that_expires_during_the_work_ends_it_then(
    node: NodeDriver, sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    hold, answer = await node.hold(link.issue(expires_at_us=now_us() + 1_000_000))
    assert answer["allowed"]
    assert await node.ended(hold) == "expired"


async def test_a_released_hold_ends_no_more(
    node: NodeDriver, sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    token = link.issue("agent:x")
    released, _ = await node.hold(token)
    kept, _ = await node.hold(token)
    await node.release(released)
    sidecar.push(link.revoke("subject:agent:x"))
    assert await node.ended(kept) == "revoked"
    assert not node.has_answer(released)


async def test_many_holds_end_together(
    node: NodeDriver, sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    token = link.issue("agent:x")
    holds = [await node.send("hold", token=token, options={}) for _ in range(1_000)]
    assert all([(await node.answer(each))["allowed"] for each in holds])
    sidecar.push(link.revoke("subject:agent:x"))
    assert {await node.ended(each) for each in holds} == {"revoked"}


async def test_during_a_flood_of_events_holds_are_checked_now_and_then(
    node: NodeDriver, sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    count, events = 200, 60
    token = link.issue("agent:x")
    holds = [await node.send("hold", token=token, options={}) for _ in range(count)]
    assert all([(await node.answer(each))["allowed"] for each in holds])
    before, began_us = sidecar.tally.looks_from_memory, now_us()
    for number in range(events):
        sidecar.push(link.revoke(f"subject:agent:other-{number}"))
        await node.reason(None)
    sweeps = (now_us() - began_us) / 1_000 / (_SWEEP_MS_PER_HOLD * count) + 2
    checks = sidecar.tally.looks_from_memory - before
    sidecar.push(link.revoke("subject:agent:x"))
    assert {await node.ended(each) for each in holds} == {"revoked"}
    assert 0 < checks <= count * sweeps


async def test_work_ends_with_the_lease_of_a_sidecar_that_is_cut_off(
    tmp_path: Path, node: NodeDriver
) -> None:
    link = LedgerInMemory(term_ms=1_000)
    with running(tmp_path / "search.sock", link):
        hold, answer = await node.hold(link.issue())
        assert answer["allowed"]
        link.reachable = False
        assert await node.ended(hold) == "no_lease"


async def test_work_ends_with_the_lease_of_a_frozen_sidecar(
    tmp_path: Path, node: NodeDriver
) -> None:
    with separate(tmp_path / "search.sock", term_ms=1_500) as (pid, (token, _)):
        await eventually(lambda: node.reason(token), until=lambda seen: seen is None)
        hold, answer = await node.hold(token)
        assert answer["allowed"]
        processes.stop(pid)
        assert await node.ended(hold) == "no_lease"


async def test_work_goes_on_while_the_lease_is_renewed(tmp_path: Path, node: NodeDriver) -> None:
    link = LedgerInMemory(term_ms=400)
    with running(tmp_path / "search.sock", link) as sidecar:
        hold, answer = await node.hold(link.issue("agent:x"))
        assert answer["allowed"]
        ends_us = now_us() + 1_000_000
        await eventually(lambda: node.check(None), until=lambda _: now_us() > ends_us)
        assert not node.has_answer(hold)
        sidecar.push(link.revoke("subject:agent:x"))
        assert await node.ended(hold) == "revoked"


async def test_work_ends_after_a_sidecar_that_stopped_and_does_not_return(
    tmp_path: Path, node: NodeDriver
) -> None:
    link = LedgerInMemory(term_ms=60_000)
    with running(tmp_path / "search.sock", link):
        hold, answer = await node.hold(link.issue())
        assert answer["allowed"]
    assert await node.ended(hold) == "unavailable"


async def test_work_goes_on_through_a_restart_and_the_new_sidecar_ends_it(
    tmp_path: Path, example: Path
) -> None:
    link = LedgerInMemory()
    socket = tmp_path / "search.sock"
    spared, doomed = link.issue("agent:x"), link.issue("agent:y")
    async with NodeDriver.running(example, socket, timeout_ms=_RESTART_MS) as node:
        with running(socket, link):
            kept, _ = await node.hold(spared)
            hit, _ = await node.hold(doomed)
        link.revoke("subject:agent:y")  # while no sidecar runs
        with running(socket, link) as sidecar:
            assert await node.ended(hit) == "revoked"
            assert await node.reason(spared) is None
            assert not node.has_answer(kept)
            sidecar.push(link.revoke("subject:agent:x"))
            assert await node.ended(kept) == "revoked"


async def test_in_grace_a_check_is_allowed_and_no_work_is_held(
    tmp_path: Path, node: NodeDriver
) -> None:
    link = LedgerInMemory(term_ms=500)
    token = link.issue()
    posture = Posture.parse("grace:agent=60s")
    with running(tmp_path / "search.sock", link, posture=posture) as sidecar:
        hold, answer = await node.hold(token)
        assert answer["allowed"]
        link.reachable = False
        assert await node.ended(hold) == "no_lease"
        wait_until(lambda: not sidecar.leased)
        assert await node.reason(token) is None
        _, answer = await node.hold(token)
        assert answer == {"allowed": False, "reason": "no_lease"}
