"""Revocations, sidecars and health checks go on beside clients that prove nothing."""

import secrets

import httpx2
from tests.support import silent_clients
from tests.support.authority import Running, Sidecar, System, serving

from rescind.wire import heartbeat, signed_envelope, subjects

IDLE = 4_100
_DESCRIPTORS = 3 * IDLE


async def beat_over_http(running: Running, sidecar: Sidecar) -> heartbeat.Reply:
    """Send a heartbeat over a connection of its own, and return the lease that it earns."""
    sidecar.counter += 1
    message = heartbeat.Heartbeat(
        instance=sidecar.instance,
        nonce=secrets.token_bytes(16),
        counter=sidecar.counter,
        applied=None,
        service="search",
        host="host-1",
        version="0.1.0",
        posture="strict",
    )
    async with running.as_bearer(None) as link:
        answer = await link.post(
            subjects.path(subjects.HEARTBEAT), content=sidecar.spoken(heartbeat.encode(message))
        )
    assert answer.status_code == httpx2.codes.OK, answer.text
    return heartbeat.decode_reply(signed_envelope.decode(answer.content).content)


async def all_goes_on(running: Running, sidecar: Sidecar) -> None:
    """Revoke, beat and look at the health, each over a new connection."""
    token = running.system.settings.admin_token_path.read_text().strip()
    async with running.as_bearer(token) as admin:
        done = await admin.post("/v1/revocations", json={"selector": ["subject:agent:a"]})
    assert done.status_code == httpx2.codes.CREATED, done.text
    await beat_over_http(running, sidecar)
    async with running.as_bearer(None) as anyone:
        assert (await anyone.get("/healthz")).status_code == httpx2.codes.OK
        assert (await anyone.get("/readyz")).status_code == httpx2.codes.OK


POST = b"POST /v1/revocations HTTP/1.1\r\nhost: a\r\n"


async def test_all_goes_on_beside_4100_connections_that_are_silent_or_send_no_end(
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
