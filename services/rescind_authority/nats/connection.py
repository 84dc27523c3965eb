"""The NATS connection: opened in the background, kept for ever, and never waited for."""

import asyncio
from itertools import chain, repeat

from nats.aio.client import Client

from rescind_authority.nats import audit_stream
from rescind_authority.nats.publisher import NatsPublisher
from rescind_authority.nats.sidecar_requests import Requests
from rescind_runtime.links import NatsLink
from rescind_runtime.net import nats_connection


class NatsAdapter:
    """Connect the use cases to NATS, whenever NATS is available."""

    def __init__(self, link: NatsLink, *, publisher: NatsPublisher, requests: Requests) -> None:
        self._link = link
        self._publisher = publisher
        self._requests = requests
        self._client: Client | None = None
        self._came_back = asyncio.Event()

    @property
    def connected(self) -> bool:
        """Return True if NATS is connected now."""
        return self._client is not None and self._client.is_connected

    async def run(self) -> None:
        """Connect as soon as NATS is available, and serve until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for again in chain((False,), repeat(True)):
                dropping = tasks.create_task(self._publisher.drop_all())
                async with nats_connection.connection(
                    self._link,
                    name="rescind-authority",
                    on_reconnected=self._came_back.set,
                    wait_for_files=again,
                ) as client:
                    dropping.cancel()
                    self._client = client
                    serving = tasks.create_task(self._serve(client))
                    await nats_connection.wait_until_given_up(client)
                    serving.cancel()

    async def _serve(self, client: Client) -> None:
        async with asyncio.TaskGroup() as tasks:
            await self._requests.subscribe(client, tasks)
            tasks.create_task(self._publisher.run(client))
            while True:
                # After a restart the server may have lost a stream that was kept in memory.
                self._came_back.clear()
                await audit_stream.ensure(client)
                await self._came_back.wait()
