"""Record when the acknowledgements of sidecars arrive over NATS, as the authority does."""

import asyncio
from collections.abc import Mapping

from nats.aio.client import Client
from nats.aio.msg import Msg

from rescind.wire import heartbeat, nats_subjects, signed_envelope
from rescind_lab.errors import LabError
from rescind_runtime import clock
from rescind_runtime.net import nats_connection

_DEADLINE_S = 15.0


class AcknowledgementTimes:
    """The time at which each sidecar first acknowledged a position for all readers of its table."""

    def __init__(self, client: Client, instances: Mapping[bytes, str]) -> None:
        self._client = client
        self._instances = instances
        self._received: list[tuple[heartbeat.Ack, int]] = []
        self._more = asyncio.Event()

    async def listen(self, *, epoch: int, seq: int) -> None:
        """Subscribe to acknowledgements, and request one of `seq` from every sidecar.

        A sidecar sends it as soon as it has applied `seq`.
        """
        await nats_connection.subscribe(self._client, nats_subjects.ACK, self._record)
        wanted = heartbeat.encode_ack_request(heartbeat.AckRequest(epoch, seq))
        await self._client.publish(nats_subjects.WANTED, wanted)
        # After the flush, NATS delivers the request to each sidecar before the event.
        await self._client.flush()

    async def _record(self, message: Msg) -> None:
        arrived_ns = clock.boottime_ns()
        self._received.append(
            (heartbeat.decode_ack(signed_envelope.decode(message.data).content), arrived_ns)
        )
        self._more.set()

    async def wait_for_all(self, *, epoch: int, seq: int) -> dict[str, int]:
        """Return when each service's sidecar acknowledged (CLOCK_BOOTTIME, ns). Raises LabError."""
        try:
            async with asyncio.timeout(_DEADLINE_S):
                while len(first := self._first_arrivals(epoch, seq)) < len(self._instances):
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            missing = set(self._instances.values()) - set(self._first_arrivals(epoch, seq))
            raise LabError(
                f"no acknowledgement from {', '.join(sorted(missing))} in {_DEADLINE_S:.0f} s"
            ) from None
        return first

    def _first_arrivals(self, epoch: int, seq: int) -> dict[str, int]:
        first: dict[str, int] = {}
        for ack, arrived_ns in self._received:
            service = self._instances.get(ack.instance)
            if service and ack.applied.epoch == epoch and ack.applied.seq >= seq:
                first.setdefault(service, arrived_ns)
        return first
