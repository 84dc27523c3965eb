"""A transport to the ledger in memory: answer a sidecar as an authority would, without a server."""

import asyncio
from collections.abc import Callable

from tests.support.sidecar import LedgerInMemory

from rescind.core import mac
from rescind.wire import enrolment, heartbeat, records, sealed, subjects, used
from rescind.wire.sealed import Sealed
from rescind_sidecar.link.transport import Handler
from rescind_sidecar.ports import Voice


class LedgerTransport:
    """Answer one sidecar from a ledger in memory (port PushingTransport)."""

    connected = True

    def __init__(self, ledger: LedgerInMemory) -> None:
        self.ledger = ledger
        self.told: list[heartbeat.Release | used.Used | heartbeat.Ack] = []
        self.on_told: Callable[[], None] = lambda: None
        self.fails: asyncio.Future[None] | None = None

    async def run(
        self, *, on_events: Handler, on_wanted: Handler, on_connected: Callable[[], None]
    ) -> None:
        self.fails = asyncio.get_running_loop().create_future()
        on_connected()
        await self.fails

    async def ask(self, subject: str, payload: bytes, *, timeout_s: float) -> bytes:
        ledger = self.ledger
        match subject:
            case subjects.ENROL:
                return sealed.encode(await ledger.enrol(enrolment.decode_request(payload)))
            case subjects.RESOLVE:
                asked = records.decode_resolve(payload)
                return records.encode_resolved(await ledger.resolve(asked))
        envelope = sealed.decode(payload)
        voice = Voice(envelope.key_id, ledger.secret(envelope.key_id))
        if subject == subjects.HEARTBEAT:
            beat = heartbeat.decode(envelope.content)
            assert isinstance(beat, heartbeat.Heartbeat)
            content = heartbeat.encode_reply(await ledger.beat(beat, voice))
        else:
            assert subject == subjects.SINCE
            since = heartbeat.decode_since(envelope.content)
            content = heartbeat.encode_events(await ledger.since(since, voice))
        tag = mac.tag(voice.secret, mac.TO_SIDECAR, content)
        return sealed.encode(Sealed(content, voice.instance, tag))

    async def tell(self, subject: str, payload: bytes) -> None:
        content = sealed.decode(payload).content
        match subject:
            case subjects.ACK:
                self.told.append(heartbeat.decode_ack(content))
            case subjects.USED:
                self.told.append(used.decode(content))
            case _:
                release = heartbeat.decode(content)
                assert isinstance(release, heartbeat.Release)
                self.told.append(release)
        self.on_told()
