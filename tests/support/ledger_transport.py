"""A transport to the ledger in memory, which answers a sidecar as an authority does."""

import asyncio
from collections.abc import Callable

from tests.support.sidecar import LedgerInMemory

from rescind.core import instance_mac
from rescind.wire import enrolment, heartbeat, lookups, nats_subjects, signed_envelope, usage_report
from rescind.wire.signed_envelope import SignedEnvelope
from rescind_sidecar.link.transport import Accept, Handler
from rescind_sidecar.ports import InstanceCredentials


class LedgerTransport:
    """Answers for one sidecar from a ledger in memory (port PushingTransport)."""

    connected = True

    def __init__(self, ledger: LedgerInMemory) -> None:
        self.ledger = ledger
        self.told: list[heartbeat.Release | usage_report.Used | heartbeat.Ack] = []
        self.on_told: Callable[[], None] = lambda: None
        self.fails: asyncio.Future[None] | None = None

    async def run(
        self, *, on_events: Handler, on_wanted: Handler, on_connected: Callable[[], None]
    ) -> None:
        self.fails = asyncio.get_running_loop().create_future()
        on_connected()
        await self.fails

    async def request(
        self, subject: str, payload: bytes, *, timeout_s: float, accept: Accept | None = None
    ) -> bytes:
        ledger = self.ledger
        if subject == nats_subjects.ENROL:
            return signed_envelope.encode(await ledger.enrol(enrolment.decode_request(payload)))
        envelope = signed_envelope.decode(payload)
        credentials = InstanceCredentials(envelope.key_id, ledger.secret(envelope.key_id))
        if subject == nats_subjects.HEARTBEAT:
            beat = heartbeat.decode(envelope.content)
            assert isinstance(beat, heartbeat.Heartbeat)
            reply = await ledger.beat(beat, credentials)
            if isinstance(reply, heartbeat.NoLease):
                content = heartbeat.encode_no_lease(reply)
            else:
                content = heartbeat.encode_reply(reply)
        elif subject == nats_subjects.RESOLVE:
            asked = lookups.decode_request(envelope.content)
            content = lookups.encode_answer(await ledger.look_up(asked, credentials))
        else:
            assert subject == nats_subjects.SINCE
            since = heartbeat.decode_since(envelope.content)
            content = heartbeat.encode_events(await ledger.since(since, credentials))
        tag = instance_mac.tag(credentials.secret, instance_mac.TO_SIDECAR, content)
        answer = signed_envelope.encode(SignedEnvelope(content, credentials.instance, tag))
        assert accept is None or accept(answer)
        return answer

    async def send(self, subject: str, payload: bytes) -> None:
        content = signed_envelope.decode(payload).content
        match subject:
            case nats_subjects.ACK:
                self.told.append(heartbeat.decode_ack(content))
            case nats_subjects.USED:
                self.told.append(usage_report.decode(content))
            case _:
                release = heartbeat.decode(content)
                assert isinstance(release, heartbeat.Release)
                self.told.append(release)
        self.on_told()
