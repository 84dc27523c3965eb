"""The authority over NATS: requests to whichever of them answers first, and what they push."""

import asyncio
from collections.abc import Callable

from nats.aio.client import Client
from nats.aio.msg import Msg

from rescind.errors import UnreachableError
from rescind.wire import subjects
from rescind_runtime import bus
from rescind_sidecar.link.transport import Handler, NotNowError

_TELL_S = 2


class NatsTransport:
    """Carry messages; `run` keeps the connection, and must run for anything to work."""

    def __init__(self, url: str, *, name: str) -> None:
        self._url = url
        self._name = name
        self._client: Client | None = None
        self._asking: set[asyncio.Timeout] = set()

    @property
    def connected(self) -> bool:
        """Whether NATS can be reached now."""
        return self._client is not None and self._client.is_connected

    async def run(
        self, *, on_events: Handler, on_wanted: Handler, on_connected: Callable[[], None]
    ) -> None:
        """Keep connected, and hand on what is pushed, for as long as the process lives."""
        while True:
            async with bus.connection(
                self._url, name=self._name, on_reconnected=on_connected, on_lost=self._give_up
            ) as client:
                await bus.subscribe(client, subjects.EVENTS, _handing(on_events))
                await bus.subscribe(client, subjects.WANTED, _handing(on_wanted))
                self._client = client
                on_connected()
                await bus.given_up(client)

    async def ask(self, subject: str, payload: bytes, *, timeout_s: float) -> bytes:
        """Send a message and give the answer."""
        client = self._reachable()
        try:
            async with asyncio.timeout(timeout_s) as deadline:
                self._asking.add(deadline)
                try:
                    answer = await client.request(subject, payload, timeout=timeout_s)
                finally:
                    self._asking.discard(deadline)
        except bus.AWAY as error:
            raise UnreachableError(f"no authority answered {subject} over NATS") from error
        if not answer.data:
            raise NotNowError(subject)
        return answer.data

    async def tell(self, subject: str, payload: bytes) -> None:
        """Send a message that nobody answers: what NATS loses, the next heartbeat says again."""
        client = self._reachable()
        try:
            async with asyncio.timeout(_TELL_S):
                await client.publish(subject, payload)
        except bus.AWAY as error:
            raise UnreachableError(f"{subject} did not reach NATS") from error

    def _give_up(self) -> None:
        # No answer comes over a connection that is gone: who waits has another way, and little
        # time (a workload gives up after 250 ms).
        for deadline in self._asking:
            deadline.reschedule(asyncio.get_running_loop().time())

    def _reachable(self) -> Client:
        # A request while NATS is away would wait in a buffer, and be an old one when it leaves.
        if self._client is None or not self._client.is_connected:
            raise UnreachableError("NATS cannot be reached")
        return self._client


def _handing(handler: Handler) -> bus.Handler:
    async def hand(message: Msg) -> None:
        handler(message.data)

    return hand
