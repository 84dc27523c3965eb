"""Push committed events to every sidecar (port EventAnnouncer)."""

import asyncio
from contextlib import suppress
from functools import partial

from nats.aio.client import Client

from rescind.wire import events, heartbeat, nats_subjects
from rescind.wire.events import Batch
from rescind.wire.heartbeat import AckRequest
from rescind.wire.trust_statement import Purpose
from rescind_authority.ports.keys import Keys
from rescind_authority.ports.metrics import Metrics
from rescind_runtime.net import nats_connection

_CAPACITY = 1_024
_PUBLISH_S = 2.0


class NatsPublisher:
    """A bounded queue in front of NATS.

    A batch is dropped and counted if the queue is full or NATS is unavailable: a heartbeat reply
    delivers it. So a revocation never waits for NATS.
    """

    def __init__(self, keys: Keys, metrics: Metrics) -> None:
        self._keys = keys
        self._metrics = metrics
        self._queue: asyncio.Queue[Batch | AckRequest] = asyncio.Queue(_CAPACITY)

    def announce(self, batch: Batch) -> None:
        """Queue a batch for every sidecar."""
        try:
            self._queue.put_nowait(batch)
        except asyncio.QueueFull:
            self._metrics.unannounced()

    def call(self, request: AckRequest) -> None:
        """Queue a request to acknowledge for every sidecar (port AcknowledgementCaller).

        The request follows earlier events.
        """
        with suppress(asyncio.QueueFull):
            self._queue.put_nowait(request)

    async def drop_all(self) -> None:
        """Drop announcements, until cancelled: there is no connection yet."""
        while True:
            await self._queue.get()
            self._metrics.unannounced()

    async def _publish(self, client: Client, message: Batch | AckRequest) -> None:
        match message:
            case AckRequest():
                await client.publish(nats_subjects.WANTED, heartbeat.encode_ack_request(message))
            case Batch():
                await client.publish(
                    nats_subjects.EVENTS,
                    events.encode_batch(message, partial(self._keys.sign, Purpose.EVENTS)),
                    headers={"Nats-Msg-Id": f"{message.epoch}-{message.first_seq}"},
                )

    async def run(self, client: Client) -> None:
        """Publish the queued messages, until cancelled."""
        while True:
            message = await self._queue.get()
            if not client.is_connected:
                # nats-py would keep the message and send it later, when it is not needed any more.
                self._metrics.unannounced()
                continue
            try:
                async with asyncio.timeout(_PUBLISH_S):
                    await self._publish(client, message)
            except nats_connection.UNREACHABLE_ERRORS:
                self._metrics.unannounced()
