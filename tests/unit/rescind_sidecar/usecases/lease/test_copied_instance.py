"""What a sidecar does when it hears that a copy of it, with its memory, has its instance id too."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.simulation.sidecar import Sidecar, alone

from rescind.core import ledger
from rescind.errors import UnreachableError
from rescind.wire.heartbeat import MAX_TRAIL, Heartbeat, NoLease, Release, Reply
from rescind_sidecar.ports import InstanceCredentials

TERM_MS = 10_000
Answer = Callable[[Heartbeat], Reply | NoLease | None]


class Link:
    """Answer heartbeats as a test says; None is no answer."""

    def __init__(self) -> None:
        self.answer: Answer = granted
        self.heard: list[Heartbeat | Release] = []

    async def beat(self, message: Heartbeat, credentials: InstanceCredentials) -> Reply | NoLease:
        self.heard.append(message)
        answer = self.answer(message)
        if answer is None:
            raise UnreachableError("lost")
        return answer

    async def release(self, message: Release, credentials: InstanceCredentials) -> None:
        self.heard.append(message)


def granted(message: Heartbeat) -> Reply:
    return Reply(message.instance, message.nonce, ledger.genesis(1), TERM_MS, 0, ())


def refused(*, counter: int, over: bool) -> Answer:
    return lambda message: NoLease(message.instance, message.nonce, counter, over)


@pytest.fixture
async def sidecar(tmp_path: Path) -> Sidecar:
    made = alone(tmp_path)
    enrolled(made)
    return made


def enrolled(sidecar: Sidecar) -> Link:
    link: Any = Link()
    sidecar.renew._link = link
    sidecar.instances.current.credentials = InstanceCredentials(
        sidecar.instances.current.instance, bytes(32)
    )
    found: Link = link
    return found


def link_of(sidecar: Sidecar) -> Link:
    link: Any = sidecar.renew._link
    found: Link = link
    return found


async def test_an_ended_instance_id_is_given_up_with_its_table_and_its_leases(
    sidecar: Sidecar,
) -> None:
    assert await sidecar.renew._beat()
    before = sidecar.instances.current
    assert before.view.leases.ends_ns > 0
    link_of(sidecar).answer = refused(counter=1, over=True)
    assert not await sidecar.renew._beat()
    after = sidecar.instances.current
    assert after.instance != before.instance
    assert after.credentials is None
    assert before.view.table._retired


async def test_a_row_with_a_counter_that_this_process_never_sent_is_that_of_a_copy(
    sidecar: Sidecar,
) -> None:
    assert await sidecar.renew._beat()
    before = sidecar.instances.current
    link_of(sidecar).answer = refused(counter=before.counter.last + 2, over=False)
    await sidecar.renew._beat()
    assert sidecar.instances.current is not before


async def test_a_late_heartbeat_of_this_process_ends_nothing(sidecar: Sidecar) -> None:
    assert await sidecar.renew._beat()
    before = sidecar.instances.current
    link_of(sidecar).answer = refused(counter=before.counter.last + 1, over=False)
    await sidecar.renew._beat()  # the row is at the counter of this very heartbeat, at the most
    assert sidecar.instances.current is before


async def test_a_refusal_of_another_heartbeat_ends_nothing(sidecar: Sidecar) -> None:
    assert await sidecar.renew._beat()
    before = sidecar.instances.current
    link_of(sidecar).answer = lambda message: NoLease(message.instance, bytes(16), 99, over=True)
    await sidecar.renew._beat()
    assert sidecar.instances.current is before


async def test_a_sidecar_that_released_its_lease_begins_no_new_instance(sidecar: Sidecar) -> None:
    assert await sidecar.renew._beat()
    before = sidecar.instances.current
    await sidecar.renew.release()
    link_of(sidecar).answer = refused(counter=9, over=True)
    await sidecar.renew._beat()
    assert sidecar.instances.current is before


async def test_every_heartbeat_names_all_since_the_last_answer_or_repeats_the_last_nonce(
    sidecar: Sidecar,
) -> None:
    link = link_of(sidecar)
    for _ in range(6):
        await sidecar.renew._beat()
    link.answer = lambda message: None
    for _ in range(3 * MAX_TRAIL):
        await sidecar.renew._beat()
    sent = [message for message in link.heard if isinstance(message, Heartbeat)]
    for number, message in enumerate(sent):
        assert message.trail is not None
        assert len(message.trail) <= MAX_TRAIL
        known = {*message.trail, message.nonce}
        assert {
            each.nonce for each in sent[max(0, number - 1, 5 if number > 5 else 0) :][:1]
        } <= known
        assert {each.nonce for each in sent[5:number]} <= known
    assert [message.counter for message in sent] == list(range(1, len(sent) + 1))
    await sidecar.renew.release()
    release = link.heard[-1]
    assert isinstance(release, Release)
    assert release.trail is not None
    assert {each.nonce for each in sent[5:]} <= set(release.trail)


async def test_a_lease_for_a_nonce_that_was_used_before_counts_from_its_first_use(
    sidecar: Sidecar,
) -> None:
    link, view = link_of(sidecar), sidecar.instances.current.view
    times = iter(range(10**9, 10**12, 10**9))
    host: Any = sidecar.renew._clock
    host.boottime_ns = lambda: next(times)
    link.answer = lambda message: None
    first_use: dict[bytes, int] = {}
    for number in range(1, 2 * MAX_TRAIL):
        await sidecar.renew._beat()
        latest = link.heard[-1]
        assert isinstance(latest, Heartbeat)
        first_use.setdefault(latest.nonce, number * 10**9)
    link.answer = granted
    assert await sidecar.renew._beat()
    nonce = link.heard[-1]
    assert isinstance(nonce, Heartbeat)
    assert view.leases.ends_ns == first_use[nonce.nonce] + TERM_MS * 10**6 * 9 // 10
    assert sidecar.renew._due.is_set()  # so another is asked for at once, with a nonce of its own
    await sidecar.renew._beat()
    again = link.heard[-1]
    assert isinstance(again, Heartbeat)
    assert again.nonce not in first_use
