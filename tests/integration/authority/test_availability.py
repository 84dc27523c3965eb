"""Revocations, sidecars and health checks go on beside clients that prove nothing."""

import asyncio
import contextlib
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
from tests.support import silent_clients
from tests.support.authority import Running, Sidecar, System, serving
from tests.support.enrolling_instance import EnrollingInstance, issue_credential
from tests.support.eventually import eventually

from rescind.core import token_format
from rescind.core.token_format import Kind
from rescind.wire import enrolment, heartbeat, nats_subjects, signed_envelope
from rescind.wire.enrolment import EnrolmentRefused, Granted
from rescind.wire.signed_envelope import SignedEnvelope

IDLE = 4_100
_DESCRIPTORS = 3 * IDLE
_HEADS_AT_ONCE = 8
_REQUESTS_AT_ONCE = 16


async def beat_over_http(running: Running, sidecar: Sidecar) -> heartbeat.Reply:
    """Send a heartbeat over a connection of its own, and return the lease that it earns."""
    async with running.as_bearer(None) as link:
        answer = await link.post(
            nats_subjects.path(nats_subjects.HEARTBEAT),
            content=sidecar.spoken(heartbeat.encode(sidecar.message())),
        )
    assert answer.status_code == httpx2.codes.OK, answer.text
    return heartbeat.decode_reply(signed_envelope.decode(answer.content).content)


async def enrol_over_http(
    running: Running, sidecar: Sidecar, shown: str
) -> Granted | EnrolmentRefused | None:
    """Show a credential as a new instance; None where the authority says "not now"."""
    request = EnrollingInstance(sidecar, running.system).request(shown)
    async with running.as_bearer(None) as link:
        answer = await link.post(
            nats_subjects.path(nats_subjects.ENROL), content=enrolment.encode_request(request)
        )
    if not answer.content or answer.status_code == httpx2.codes.SERVICE_UNAVAILABLE:
        return None
    return enrolment.decode_answer(signed_envelope.decode(answer.content).content)


async def all_goes_on(running: Running, sidecar: Sidecar) -> None:
    """Revoke and wait, beat, enrol and look at the health, each over a new connection."""
    token = running.system.settings.admin_token_path.read_text().strip()
    async with running.as_bearer(token) as admin:
        asked = {"selector": ["subject:agent:a"], "wait": True, "timeout": 60}
        done = await admin.post("/v1/revocations", json=asked, timeout=70)
    assert done.status_code == httpx2.codes.CREATED, done.text
    assert done.json()["state"] == "enforced"
    await beat_over_http(running, sidecar)
    shown = (await issue_credential(running))["token"]
    granted = await eventually(lambda: enrol_over_http(running, sidecar, shown))
    assert isinstance(granted, Granted), granted
    async with running.as_bearer(None) as anyone:
        assert (await anyone.get("/healthz")).status_code == httpx2.codes.OK
        assert (await anyone.get("/readyz")).status_code == httpx2.codes.OK


POST = b"POST /v1/revocations HTTP/1.1\r\nhost: a\r\n"


async def test_the_authority_keeps_working_beside_4100_silent_or_endless_connections(
    system: System,
) -> None:
    with silent_clients.descriptors(_DESCRIPTORS):
        async with (
            serving(system) as running,
            system.sidecar() as sidecar,
            silent_clients.silent(running.url, IDLE // 3),
            silent_clients.silent(running.url, IDLE // 3, POST),
            silent_clients.silent(running.url, IDLE // 3 + 2, POST + b"content-length: 9\r\n\r\n{"),
        ):
            await all_goes_on(running, sidecar)
            assert await running.metric("rescind_authority_http_connections ") > 1_000


async def endless_heads(url: str, seen: Counter[str]) -> None:
    """Send a head that does not end, and another one when the server has cut it off."""
    while True:
        _, writer = await asyncio.open_connection(*silent_clients.address_of(url))
        with contextlib.suppress(ConnectionError):
            writer.write(b"GET /v1/tokens HTTP/1.1\r\nhost: a\r\n")
            while not writer.is_closing():
                writer.write(b"x-more: %b\r\n" % (b"a" * 1_000))
                await writer.drain()
        seen["heads that were cut off"] += 1
        writer.close()


async def requests_without_proof(running: Running, sidecar: Sidecar, seen: Counter[str]) -> None:
    """Ask what an administrator asks, and what a sidecar asks, without a credential for it."""
    forged = token_format.mint(kind=Kind.SERVICE, random=bytes(32), edge_key=bytes(32)).reveal()
    unsigned_lookup = signed_envelope.encode(
        SignedEnvelope(b"", secrets.token_bytes(16), bytes(32))
    )
    candidate = enrolment.encode_request(EnrollingInstance(sidecar, running.system).request(forged))
    async with running.as_bearer(forged) as http:
        while True:
            for answer in (
                await http.get("/v1/fleet"),
                await http.post("/v1/revocations", json={"selector": ["*"]}),
                await http.post("/oauth/token", data={"grant_type": "x", "subject_token": forged}),
                await http.post(nats_subjects.path(nats_subjects.RESOLVE), content=unsigned_lookup),
                await http.post(nats_subjects.path(nats_subjects.ENROL), content=candidate),
            ):
                seen[f"{answer.url.path} {answer.status_code}"] += 1


@asynccontextmanager
async def flooded(running: Running, sidecar: Sidecar) -> AsyncIterator[Counter[str]]:
    """Have both for the block, and count what becomes of them."""
    seen = Counter[str]()
    async with asyncio.TaskGroup() as tasks:
        attackers = [
            *(tasks.create_task(endless_heads(running.url, seen)) for _ in range(_HEADS_AT_ONCE)),
            *(
                tasks.create_task(requests_without_proof(running, sidecar, seen))
                for _ in range(_REQUESTS_AT_ONCE)
            ),
        ]
        await eventually(lambda: _reached(seen), deadline_s=60)
        yield seen
        for attacker in attackers:
            attacker.cancel()


async def _reached(seen: Counter[str]) -> bool:
    cut_off, refused = seen["heads that were cut off"], seen["/v1/fleet 401"]
    return cut_off >= _HEADS_AT_ONCE and refused >= _REQUESTS_AT_ONCE


async def test_the_authority_keeps_working_beside_endless_heads_and_an_unauthenticated_flood(
    system: System,
) -> None:
    async with (
        serving(system) as running,
        system.sidecar() as sidecar,
        flooded(running, sidecar) as seen,
    ):
        before = seen.total()
        await all_goes_on(running, sidecar)
        assert seen.total() > before, "the flood went on meanwhile"
        refusals = ("/v1/fleet 401", "/v1/revocations 401", "/oauth/token 400")
        asked = [each for each in seen if each.startswith(("/v1", "/oauth"))]
        assert sorted(asked) == sorted(refusals)
