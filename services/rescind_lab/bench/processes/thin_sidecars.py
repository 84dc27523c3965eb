"""Many thin sidecars in one process, which only acknowledge.

    python -m rescind_lab.bench.processes.thin_sidecars PARAMETERS COUNT

PARAMETERS is a JSON file with the URL of NATS, and COUNT is the number of sidecars.

Each has its own NATS connection, verifies the hash chain of every batch, and acknowledges it with
a MAC. It has no records and no table, and verifies no signature: a thousand verifications in one
process would dominate the measured time. A thousand instances of a NATS client library would also
dominate it, so the NATS protocol is implemented by hand.
"""

import asyncio
import json
import re
import secrets
import sys
from itertools import count
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from rescind.core import instance_mac
from rescind.core.ledger import Position, replay
from rescind.wire import events, heartbeat, nats_subjects, signed_envelope
from rescind.wire.signed_envelope import SignedEnvelope
from rescind_lab.errors import LabError
from rescind_runtime import ready_line, supervise
from rescind_runtime.supervise import Stop

_PORT = 4222
_LINE = b"\r\n"
# MSG <subject> <sid> [reply] <bytes>, HMSG <subject> <sid> [reply] <header bytes> <bytes>
_MESSAGE = re.compile(rb"(H?)MSG \S+ \S+ (?:\S+ )??(?:(\d+) )?(\d+)")


class ThinSidecar(asyncio.Protocol):
    """One connection, which receives batches and acknowledges each."""

    def __init__(self, *, user: str, password: str) -> None:
        self.subscribed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._login = {"user": user, "pass": password, "headers": True, "verbose": False}
        self._instance = secrets.token_bytes(heartbeat.INSTANCE_BYTES)
        self._secret = secrets.token_bytes(instance_mac.MAC_BYTES)
        self._counter = count(1)
        self._received = bytearray()
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Log in and subscribe; the server's PONG confirms both."""
        self._transport = cast("asyncio.WriteTransport", transport)
        login = json.dumps(self._login).encode()
        subscription = f"SUB {nats_subjects.EVENTS} 1".encode()
        self._transport.write(_LINE.join((b"CONNECT " + login, subscription, b"PING", b"")))

    def data_received(self, data: bytes) -> None:
        """Process all complete lines and messages."""
        self._received += data
        while (end := self._received.find(_LINE)) >= 0:
            line = bytes(self._received[:end])
            rest = end + len(_LINE)
            if message := _MESSAGE.fullmatch(line):
                header, size = int(message[2] or 0), int(message[3])
                if len(self._received) < rest + size + len(_LINE):
                    return
                self._acknowledge(bytes(self._received[rest + header : rest + size]))
                rest += size + len(_LINE)
            elif line == b"PING":
                self._write(b"PONG\r\n")
            elif line == b"PONG" and not self.subscribed.done():
                self.subscribed.set_result(None)
            elif line.startswith(b"-ERR") and not self.subscribed.done():
                self.subscribed.set_exception(LabError(f"NATS answered: {line.decode()}"))
            del self._received[:rest]

    def _acknowledge(self, payload: bytes) -> None:
        """Verify the hash chain of a batch, and acknowledge its last position. Raises LabError."""
        batch = events.decode_batch(payload)
        start = Position(batch.epoch, batch.first_seq - 1, batch.before)
        reached = replay(start, batch.payloads)
        if reached.head != batch.after:
            raise LabError("the hash chain of a batch does not end at its head")
        content = heartbeat.encode_ack(heartbeat.Ack(self._instance, next(self._counter), reached))
        tag = instance_mac.tag(self._secret, instance_mac.TO_AUTHORITY, content)
        ack = signed_envelope.encode(SignedEnvelope(content, self._instance, tag))
        self._write(b"PUB %s %d\r\n%s\r\n" % (nats_subjects.ACK.encode(), len(ack), ack))

    def _write(self, frame: bytes) -> None:
        if self._transport is not None:
            self._transport.write(frame)


def _read_parameters() -> dict[str, str]:
    """Read the parameters from a file, since a URL with a password must not be in argv."""
    parameters: dict[str, str] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    return parameters


async def _main(stop: Stop) -> None:
    address = urlsplit(_read_parameters()["nats"])
    loop = asyncio.get_running_loop()
    sidecars: list[ThinSidecar] = []
    for _ in range(int(sys.argv[2])):
        _, sidecar = await loop.create_connection(
            lambda: ThinSidecar(user=address.username or "", password=address.password or ""),
            address.hostname or "127.0.0.1",
            address.port or _PORT,
        )
        await sidecar.subscribed
        sidecars.append(sidecar)
    ready_line.announce(sidecars=len(sidecars))
    await stop.wait()


if __name__ == "__main__":
    supervise.run(_main, name="bench fleet")
