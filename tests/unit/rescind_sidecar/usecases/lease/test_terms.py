"""At any term that is allowed a sidecar that reaches its authority never loses its lease."""

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

SECRET = bytes(32)
MINUTE_S = 60.0


class Transport:
    """Grant a term to each heartbeat that is not lost, after some time."""

    def __init__(
        self, term_ms: Callable[[], int], *, takes_s: float, lost: Callable[[int], bool]
    ) -> None:
        self._term_ms = term_ms
        self._takes_s = takes_s
        self._lost = lost
        self.heard = 0
        self.answered: Callable[[], None] = lambda: None

    async def request(
        self, subject: str, payload: bytes, *, timeout_s: float, accept: Accept | None = None
    ) -> bytes:
        assert subject == nats_subjects.HEARTBEAT
        self.heard += 1
        if self._lost(self.heard) or self._takes_s > timeout_s:
            await asyncio.sleep(timeout_s)
            raise UnreachableError("no answer")
        await asyncio.sleep(self._takes_s)
        self.answered()
        asked = heartbeat.decode(signed_envelope.decode(payload).content)
        assert isinstance(asked, heartbeat.Heartbeat)
        reply = heartbeat.Reply(
            asked.instance, asked.nonce, ledger.genesis(1), self._term_ms(), 0, ()
        )
        content = heartbeat.encode_reply(reply)
        tag = instance_mac.tag(SECRET, instance_mac.TO_SIDECAR, content)
        return signed_envelope.encode(SignedEnvelope(content, asked.instance, tag))


async def gaps_s(folder: Path, transport: Transport) -> list[float]:
    """Run a sidecar for a minute; return when a lease came after the one before it had ended."""
    sidecar = alone(folder)
    link: Any = transport
    sidecar.renew._link = AuthorityClient(link, Counters())
    sidecar.renew._interval_s = 2.5
    current = sidecar.instances.current
    current.credentials = InstanceCredentials(current.instance, SECRET)
    leases, clock, found = current.view.leases, sidecar.renew._clock, list[float]()

    def answered() -> None:
        if 0 < leases.ends_ns <= clock.boottime_ns():
            found.append(asyncio.get_running_loop().time())

    transport.answered = answered
    beating = asyncio.create_task(sidecar.renew.run())
    await asyncio.sleep(MINUTE_S)
    beating.cancel()
    assert current.view.leased(clock.boottime_ns())
    assert sidecar.instances.current is current
    return found


@pytest.mark.parametrize("takes_s", [0.001, 0.1])
@pytest.mark.parametrize("term_ms", [MIN_TERM_MS, 1_000, 2_000, 2_700, 3_000, 10_000, 86_400_000])
def test_no_lease_runs_out_at_any_term(tmp_path: Path, term_ms: int, takes_s: float) -> None:
    transport = Transport(lambda: term_ms, takes_s=takes_s, lost=lambda _: False)
    assert virtual_time.run(gaps_s(tmp_path, transport)) == []


@pytest.mark.parametrize("term_ms", [1_000, 2_000, 3_000, 10_000])
def test_a_lost_heartbeat_costs_no_lease(tmp_path: Path, term_ms: int) -> None:
    transport = Transport(
        lambda: term_ms, takes_s=0.02, lost=lambda number: number > 1 and number % 3 == 0
    )
    assert virtual_time.run(gaps_s(tmp_path, transport)) == []


def test_the_heartbeat_follows_a_term_that_changes(tmp_path: Path) -> None:
    async def changing() -> tuple[list[float], int]:
        loop = asyncio.get_running_loop()
        transport = Transport(
            lambda: 10_000 if not 20 < loop.time() < 40 else MIN_TERM_MS,
            takes_s=0.02,
            lost=lambda _: False,
        )
        return await gaps_s(tmp_path, transport), transport.heard

    gaps, heard = virtual_time.run(changing())
    assert gaps == []
    assert heard < 2 * (40 / 2.5 + 20 / 0.125), "it beats oftener only while the term is short"
