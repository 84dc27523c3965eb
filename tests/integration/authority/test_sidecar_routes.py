"""Requests of sidecars over HTTP: the same bytes and proofs, and no other client is served."""

import asyncio

import httpx2
import pytest
from tests.support.authority import Running, Sidecar, System, serving
from tests.support.eventually import eventually

from rescind.errors import UnreachableError
from rescind.wire import heartbeat, lookups, nats_subjects, records, signed_envelope
from rescind.wire.signed_envelope import SignedEnvelope
from rescind_authority.http.sidecar_routes import MAX_BYTES
from rescind_sidecar.link.http_transport import HttpTransport
from rescind_sidecar.link.transport import AuthorityBusyError


async def post(running: Running, subject: str, payload: bytes) -> httpx2.Response:
    async with running.as_bearer(None) as anybody:
        return await anybody.post(nats_subjects.path(subject), content=payload)


def beat(sidecar: Sidecar) -> bytes:
    return sidecar.spoken(heartbeat.encode(sidecar.message()))


async def test_a_heartbeat_gets_a_lease_and_a_stale_one_gets_none(system: System) -> None:
    async with serving(system) as running, system.sidecar() as sidecar:
        await running.revoke("subject:agent:a")
        payload = beat(sidecar)
        answer = await post(running, nats_subjects.HEARTBEAT, payload)
        assert answer.headers["content-type"] == "application/octet-stream"
        reply = heartbeat.decode_reply(signed_envelope.decode(answer.content).content)
        assert (reply.instance, reply.position.seq) == (sidecar.instance, 1)
        again = await post(running, nats_subjects.HEARTBEAT, payload)
        assert (again.status_code, again.content) == (204, b"")


async def test_a_heartbeat_without_a_valid_mac_creates_no_lease_row(system: System) -> None:
    async with serving(system) as running, system.sidecar() as sidecar:
        envelope = signed_envelope.decode(beat(sidecar))
        forged = signed_envelope.encode(
            SignedEnvelope(envelope.content, envelope.key_id, bytes(32))
        )
        answer = await post(running, nats_subjects.HEARTBEAT, forged)
        assert answer.content == heartbeat.ENROL_AGAIN
        assert await system.rows("SELECT 1 FROM leases") == []


async def test_a_record_and_missing_events_can_be_fetched(system: System) -> None:
    async with serving(system) as running, system.sidecar() as sidecar:
        await sidecar.enrol()
        issued = await running.issue()
        await running.revoke("subject:agent:a")
        look = sidecar.asking(issued["token"])
        found = await post(
            running, nats_subjects.RESOLVE, sidecar.spoken(lookups.encode_request(look))
        )
        resolved = lookups.decode_answer(signed_envelope.decode(found.content).content)
        assert (resolved.nonce, resolved.token_hash) == (look.nonce, look.token_hash)
        assert resolved.record is not None
        assert records.decode(resolved.record).token_id == issued["token_id"]
        asked = sidecar.spoken(heartbeat.encode_since(heartbeat.Since(1, 0)))
        answer = await post(running, nats_subjects.SINCE, asked)
        events = heartbeat.decode_events(signed_envelope.decode(answer.content).content)
        assert len(events.payloads) == 1


@pytest.mark.parametrize("name", ["heartbeat", "since", "resolve", "enrol", "ack", "used"])
async def test_a_malformed_message_is_refused_and_counted(system: System, name: str) -> None:
    subject = f"rescind.v1.{name}"
    async with serving(system) as running:
        refused = await post(running, subject, b"\xc1 not a message")
        assert refused.status_code == 400
        assert refused.headers["content-type"] == "application/problem+json"
        assert (await post(running, subject, bytes(MAX_BYTES + 1))).status_code == 413
        counted = f'{{outcome="refused",subject="{subject}"}}'
        assert await running.metric(f"rescind_authority_unanswered_requests_total{counted}") == 1


async def test_the_openapi_document_leaves_the_link_out(system: System) -> None:
    async with serving(system) as running:
        paths = (await running.http.get("/openapi.json")).json()["paths"]
        assert not [path for path in paths if path.startswith("/link")]
        assert (await running.http.get("/link/v1/heartbeat")).status_code == 405


async def test_an_authority_without_postgres_answers_not_now_and_the_next_one_is_asked(
    system: System,
) -> None:
    async with (
        serving(system) as running,
        system.sidecar() as sidecar,
        asyncio.TaskGroup() as tasks,
    ):
        await sidecar.enrol()
        asked = sidecar.spoken(lookups.encode_request(lookups.LookupRequest(bytes(32), bytes(16))))
        # A port without a listener comes first.
        transport = HttpTransport(["http://127.0.0.1:9", running.url])
        job = tasks.create_task(transport.run())
        await asyncio.sleep(0)

        async def look() -> bytes | None:
            try:
                return await transport.request(nats_subjects.RESOLVE, asked, timeout_s=2)
            except AuthorityBusyError:
                return None

        heard = await eventually(look)
        answer = signed_envelope.decode(heard or b"")
        resolved = lookups.decode_answer(answer.content)
        with pytest.raises(UnreachableError, match="no authority of this installation"):
            await transport.request(
                nats_subjects.RESOLVE, asked, timeout_s=2, accept=lambda _: False
            )
        assert (resolved.epoch, resolved.record) == (1, None)
        await system.shut()
        await eventually(look, until=lambda answer: answer is None)
        await system.open()
        await eventually(look)
        job.cancel()


async def test_a_missing_authority_is_unreachable_within_the_deadline() -> None:
    async with asyncio.TaskGroup() as tasks:
        transport = HttpTransport(["http://127.0.0.1:9"])
        job = tasks.create_task(transport.run())
        await asyncio.sleep(0)
        async with asyncio.timeout(2):
            with pytest.raises(UnreachableError, match="no authority answered at http://127"):
                await transport.request(nats_subjects.RESOLVE, b"?", timeout_s=1)
            with pytest.raises(UnreachableError):
                await transport.send(nats_subjects.USED, b"?")
        job.cancel()
