"""A simulated fleet of sidecars that renew their leases.

    python -m rescind_lab.bench.processes.heartbeat_load PARAMETERS COUNT SECONDS

COUNT instances each send a heartbeat every SECONDS, with the MAC of their own secret. The
heartbeats are evenly spread over time, and share one connection: thousands of real sidecars would
overload the machine.
"""

import asyncio
import json
import secrets
import sys
from itertools import count, cycle
from pathlib import Path

from rescind.core import instance_mac
from rescind.core.ledger import Position
from rescind.wire import heartbeat, nats_subjects, signed_envelope
from rescind.wire.signed_envelope import SignedEnvelope
from rescind_runtime import clock, ready_line, supervise
from rescind_runtime.net import nats_connection
from rescind_runtime.supervise import Stop

_STEP_S = 0.01


class SimulatedInstance:
    """An enrolled instance, which reports that it has applied all events."""

    def __init__(self, instance: bytes, master: bytes, at: Position) -> None:
        self._instance = instance
        self._secret = instance_mac.instance_secret(master, epoch=at.epoch, instance=self._instance)
        self._at = at
        self._counter = count(1)

    def next_heartbeat(self) -> bytes:
        """Return the next heartbeat."""
        content = heartbeat.encode(
            heartbeat.Heartbeat(
                instance=self._instance,
                nonce=secrets.token_bytes(heartbeat.NONCE_BYTES),
                counter=next(self._counter),
                applied=self._at,
                service="bench",
                host="bench",
                version="bench",
                posture="strict",
            )
        )
        tag = instance_mac.tag(self._secret, instance_mac.TO_AUTHORITY, content)
        return signed_envelope.encode(SignedEnvelope(content, self._instance, tag))


def _read_parameters() -> dict[str, str]:
    """Read the parameters from a file: a key and a password must not be in argv."""
    parameters: dict[str, str] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    return parameters


async def _main(stop: Stop) -> None:
    parameters = _read_parameters()
    number, interval_s = int(sys.argv[2]), float(sys.argv[3])
    at = Position(
        int(parameters["epoch"]), int(parameters["seq"]), bytes.fromhex(parameters["head"])
    )
    # The id of the first instance; the others were enrolled under the ids that follow it.
    first = int(parameters["first"], 16)
    instances = [each.to_bytes(heartbeat.INSTANCE_BYTES) for each in range(first, first + number)]
    fleet = cycle(
        [SimulatedInstance(each, bytes.fromhex(parameters["master"]), at) for each in instances]
    )
    async with nats_connection.connection(parameters["nats"], name="rescind-bench") as client:
        inbox = (
            client.new_inbox()
        )  # replies are not read: table `leases` shows the counted heartbeats
        ready_line.announce(instances=number)
        began_ns, sent = clock.monotonic_raw_ns(), 0
        while not stop.requested:
            due = int((clock.monotonic_raw_ns() - began_ns) / 1e9 * number / interval_s)
            for _ in range(due - sent):
                await client.publish(
                    nats_subjects.HEARTBEAT, next(fleet).next_heartbeat(), reply=inbox
                )
            sent = due
            await asyncio.sleep(_STEP_S)


if __name__ == "__main__":
    supervise.run(_main, name="bench heartbeats")
