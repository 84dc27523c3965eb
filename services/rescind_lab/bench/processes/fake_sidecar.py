"""A fake sidecar: the socket and the table of a sidecar, without an authority.

    python -m rescind_lab.bench.processes.fake_sidecar SOCKET HANDLES EVENTS_PER_S

It answers on a socket and writes a table with the codecs and the writer of a sidecar. It has a
record for every token, and applies EVENTS_PER_S events a second, each of which hits a random tree.
A check can thus be measured while events arrive, without committing them. The answer to a `check`
contains the number of look-ups so far instead of a position.
"""

import asyncio
import hashlib
import mmap
import os
import random
import secrets
import sys
from pathlib import Path
from typing import cast

from rescind.client.clock import boot_id
from rescind.core import generation_table, handles, token_format
from rescind.core.generation_table import Writer
from rescind.core.record import Record
from rescind.core.times import NS_PER_S
from rescind.core.token_format import Kind, TokenHash
from rescind.wire import records, signed_envelope
from rescind.wire.socket_protocol import (
    Changed,
    Check,
    Clock,
    Entry,
    Frames,
    Greeting,
    Look,
    Now,
    Request,
    Response,
    Verdict,
    Watch,
    decode_request,
    encode_response,
)
from rescind_runtime import clock, ready_line, supervise
from rescind_runtime.supervise import Stop

SERVICE = "bench"

_TICK_S = 0.001
_LEASE_NS = 10_000_000_000
_HOUR_NS = 3_600_000_000_000
_HOUR_US = 3_600_000_000
_FIXED_HANDLES = 6  # the handles of every token; the others are labels


class FakeSidecar:
    """A sidecar that writes events to a table, and has a record for every token."""

    def __init__(self, table: Path, *, handles_each: int) -> None:
        self.instance = secrets.token_bytes(16)
        self.lookups = 0
        size = generation_table.size_bytes(generation_table.DEFAULT_SLOTS)
        descriptor = os.open(table, os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(descriptor, size)
        words = memoryview(mmap.mmap(descriptor, size)).cast("Q")
        os.close(descriptor)
        self._table = Writer(words, instance=self.instance, boot=boot_id())
        self._labels = max(0, handles_each - _FIXED_HANDLES)
        self._random = random.Random(handles_each)  # noqa: S311 - the same events in every run
        self._applied = 0

    def extend_lease(self) -> None:
        """Extend the lease."""
        self._table.extend(clock.boottime_ns() + _LEASE_NS)

    def apply(self, count: int) -> None:
        """Apply `count` events that hit random trees, and no token of the bench."""
        for _ in range(count):
            self._applied += 1
            self._table.bump(f"tree:tok_{self._random.getrandbits(64):x}", applied=self._applied)

    def respond(self, request: Request) -> Response:
        """Return the response to a request; every token is accepted."""
        match request:
            case Clock(number):
                return Now(number, clock.boottime_ns())
            case Look(number, token):
                self.lookups += 1
                return self._build_entry(number, token)
            case Check(number, token):
                record = records.encode(self._build_record(token), signed_envelope.unsigned)
                return Verdict(number, self.instance, None, record, self.lookups, 0)
            case Watch(number):
                return Changed(number, self._applied)  # no row uses holds

    def _build_entry(self, number: int, token: str | TokenHash) -> Entry:
        record, now_ns = self._build_record(token), clock.boottime_ns()
        slots = generation_table.slots_of(record.handles, self._table.slots)
        return Entry(
            request=number,
            instance=self.instance,
            record=records.encode(record, signed_envelope.unsigned),
            slots=slots,
            stamps=self._table.stamps(slots),
            generation=self._table.generation,
            not_before_ns=0,
            until_ns=now_ns + _HOUR_NS,
        )

    def _build_record(self, token: str | TokenHash) -> Record:
        token_hash = token_format.digest(token)
        name = hashlib.sha256(token_hash).hexdigest()[:26]
        now_us = clock.wall_us()
        labels = tuple((f"bench-{place}", f"{name}-{place}") for place in range(self._labels))
        return Record(
            token_hash=token_hash,
            epoch=1,
            as_of=self._applied,
            token_id=f"tok_{name}",
            kind=Kind.AGENT,
            subject=f"agent:{name}",
            granted=frozenset({"work:do"}),
            audience=frozenset(),
            issued_at_us=now_us,
            issued_seq=0,
            not_before_us=0,
            expires_at_us=now_us + _HOUR_US,
            handles=handles.of_token(
                token_id=f"tok_{name}",
                kind=Kind.AGENT,
                subject=f"agent:{name}",
                tenant=None,
                client=None,
                session=None,
                labels=labels,
            ),
            labels=labels,
        )


class _Connection(asyncio.Protocol):
    def __init__(self, sidecar: FakeSidecar) -> None:
        self._sidecar = sidecar
        self._frames = Frames()
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)
        greeting = Greeting(SERVICE, self._sidecar.instance, boot_id(), "strict")
        self._transport.write(encode_response(greeting))

    def data_received(self, data: bytes) -> None:
        if self._transport is not None:
            for message in self._frames.feed(data):
                response = self._sidecar.respond(decode_request(message))
                self._transport.write(encode_response(response))


async def _apply_events(sidecar: FakeSidecar, *, per_s: int) -> None:
    """Apply events at a rate, a few in each tick, and catch up after late ticks."""
    began_ns, applied = clock.monotonic_raw_ns(), 0
    while True:
        sidecar.extend_lease()
        due = (clock.monotonic_raw_ns() - began_ns) * per_s // NS_PER_S
        sidecar.apply(due - applied)
        applied = due
        await asyncio.sleep(_TICK_S)


async def _main(stop: Stop) -> None:
    path, handles_each, per_s = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    sidecar = FakeSidecar(path.with_suffix(".table"), handles_each=handles_each)
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(_apply_events(sidecar, per_s=per_s))
        server = await loop.create_unix_server(lambda: _Connection(sidecar), str(path))
        ready_line.announce(socket=str(path))
        await stop.wait()
        server.close()
        task.cancel()


if __name__ == "__main__":
    supervise.run(_main, name="bench sidecar")
