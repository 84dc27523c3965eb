"""The intervals of heartbeats and retries, and leases that are renewed in time at any term."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.simulation.sidecar import alone
from tests.support import virtual_time

from rescind.core import instance_mac, ledger
from rescind.errors import UnreachableError
from rescind.wire import heartbeat, nats_subjects, signed_envelope
from rescind.wire.signed_envelope import SignedEnvelope
from rescind_authority.usecases.leases.lease_term import MIN_TERM_MS
from rescind_sidecar.link.authority_client import AuthorityClient
from rescind_sidecar.link.transport import Accept
from rescind_sidecar.ports import InstanceCredentials
from rescind_sidecar.stats.counters import Counters
from rescind_sidecar.usecases.lease.renew import Identity, Renew

SECRET = bytes(32)
MINUTE_S = 60.0
UNUSED: Any = None


def create_renew(*, pushes: bool = True) -> Renew:
    return Renew(
        identity=Identity("search", "host", "0", "strict"),
        instances=UNUSED,
        enrol=UNUSED,
        follow=UNUSED,
        offers=UNUSED,
        link=UNUSED,
        trust_store=UNUSED,
        clock=UNUSED,
        random_source=UNUSED,
        tally=UNUSED,
        due=UNUSED,
        interval_s=2.5,
        pushes=lambda: pushes,
    )


def pause_s(*, pushes: bool, took_s: float) -> float:
    renew = create_renew(pushes=pushes)
    renew._round_trip_s = took_s
    return renew._pause_s()


def test_without_pushes_heartbeats_are_sent_each_second_unless_the_authority_is_slow() -> None:
    assert pause_s(pushes=True, took_s=0.001) == 2.5
    assert pause_s(pushes=False, took_s=0.001) == 1.0
    assert pause_s(pushes=False, took_s=0.1) == 2.0
    assert pause_s(pushes=False, took_s=1.0) == 2.5


def test_enrolment_is_retried_after_250_ms_and_after_a_refusal_with_the_next_heartbeat() -> None:
    renew = create_renew()
    assert renew._retry_s() == 0.25
    renew._not_enrolled = True
    assert renew._retry_s() == 2.5


class TermTransport:
    """Grant a term to each heartbeat that is not lost, after some time."""

    def __init__(
        self, term_ms: Callable[[], int], *, takes_s: float, lost: Callable[[int], bool]
    ) -> None:
        self._term_ms = term_ms
        self._takes_s = takes_s
        self._lost = lost
        self.heartbeats = 0
        self.before_reply: Callable[[], None] = lambda: None

    async def request(
        self, subject: str, payload: bytes, *, timeout_s: float, accept: Accept | None = None
    ) -> bytes:
        assert subject == nats_subjects.HEARTBEAT
        self.heartbeats += 1
        if self._lost(self.heartbeats) or self._takes_s > timeout_s:
            await asyncio.sleep(timeout_s)
            raise UnreachableError("no answer")
        await asyncio.sleep(self._takes_s)
        self.before_reply()
        request = heartbeat.decode(signed_envelope.decode(payload).content)
        assert isinstance(request, heartbeat.Heartbeat)
        reply = heartbeat.Reply(
            request.instance, request.nonce, ledger.genesis(1), self._term_ms(), 0, ()
        )
        content = heartbeat.encode_reply(reply)
        tag = instance_mac.tag(SECRET, instance_mac.TO_SIDECAR, content)
        return signed_envelope.encode(SignedEnvelope(content, request.instance, tag))


async def run_for_a_minute(folder: Path, transport: TermTransport) -> list[float]:
    """Run a sidecar for a minute; return the times of leases that came after the previous end."""
    sidecar = alone(folder)
    link: Any = transport
    sidecar.renew._link = AuthorityClient(link, Counters())
    sidecar.renew._interval_s = 2.5
    current = sidecar.instances.current
    current.credentials = InstanceCredentials(current.instance, SECRET)
    leases, clock, gaps = current.view.leases, sidecar.renew._clock, list[float]()

    def note_gap() -> None:
        if 0 < leases.ends_ns <= clock.boottime_ns():
            gaps.append(asyncio.get_running_loop().time())

    transport.before_reply = note_gap
    renewal = asyncio.create_task(sidecar.renew.run())
    await asyncio.sleep(MINUTE_S)
    renewal.cancel()
    assert current.view.leased(clock.boottime_ns())
    assert sidecar.instances.current is current
    return gaps


@pytest.mark.parametrize("takes_s", [0.001, 0.1])
@pytest.mark.parametrize("term_ms", [MIN_TERM_MS, 1_000, 2_000, 2_700, 3_000, 10_000, 86_400_000])
def test_no_lease_runs_out_at_any_term(tmp_path: Path, term_ms: int, takes_s: float) -> None:
    transport = TermTransport(lambda: term_ms, takes_s=takes_s, lost=lambda _: False)
    assert virtual_time.run(run_for_a_minute(tmp_path, transport)) == []


@pytest.mark.parametrize("term_ms", [1_000, 2_000, 3_000, 10_000])
def test_a_lost_heartbeat_costs_no_lease(tmp_path: Path, term_ms: int) -> None:
    transport = TermTransport(
        lambda: term_ms, takes_s=0.02, lost=lambda number: number > 1 and number % 3 == 0
    )
    assert virtual_time.run(run_for_a_minute(tmp_path, transport)) == []


def test_the_heartbeat_follows_a_term_that_changes(tmp_path: Path) -> None:
    async def run_with_changing_term() -> tuple[list[float], int]:
        loop = asyncio.get_running_loop()
        transport = TermTransport(
            lambda: 10_000 if not 20 < loop.time() < 40 else MIN_TERM_MS,
            takes_s=0.02,
            lost=lambda _: False,
        )
        return await run_for_a_minute(tmp_path, transport), transport.heartbeats

    gaps, heartbeats = virtual_time.run(run_with_changing_term())
    assert gaps == []
    assert heartbeats < 2 * (40 / 2.5 + 20 / 0.125), (
        "heartbeats are more frequent only while the term is short"
    )
