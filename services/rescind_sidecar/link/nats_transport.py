"""The NATS transport: requests, which the first authority to answer serves, and pushed events."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from nats.aio.client import NO_RESPONDERS_STATUS, Client
from nats.aio.msg import Msg
from nats.js.api import Header

from rescind.errors import UnreachableError
from rescind.wire import nats_subjects
from rescind_runtime.links import NatsLink
from rescind_runtime.net import nats_connection
from rescind_sidecar.link.transport import Accept, AuthorityBusyError, Handler

_SEND_S = 2


@dataclass(frozen=True, slots=True)
class _PendingRequest:
    """A request under way. `answer` is the reply, or the reason why there is none."""

    subject: str
    accept: Accept | None
    answer: asyncio.Future[bytes]

    def receive(self, message: Msg) -> None:
        """Settle the request with a message, which any client of NATS may have sent."""
        if self.answer.done():
            return
        if self.accept is not None:
            self._receive_if_accepted(self.accept, message.data)
        elif message.headers and message.headers.get(Header.STATUS) == NO_RESPONDERS_STATUS:
            why = f"no authority listens to {self.subject} over NATS"
            self.answer.set_exception(UnreachableError(why))
        elif message.data:
            self.answer.set_result(message.data)
        else:
            self.answer.set_exception(AuthorityBusyError(self.subject))

    def _receive_if_accepted(self, accept: Accept, payload: bytes) -> None:
        try:
            if accept(payload):
                self.answer.set_result(payload)
        except AuthorityBusyError as error:
            self.answer.set_exception(error)


class NatsTransport:
    """Send and receive messages, while `run` keeps the connection."""

    def __init__(self, link: NatsLink | str, *, name: str) -> None:
        self._link = link
        self._name = name
        self._client: Client | None = None
        self._deadlines: set[asyncio.Timeout] = set()
        self._inbox = ""
        self._numbers = count()
        self._pending: dict[str, _PendingRequest] = {}

    @property
    def connected(self) -> bool:
        """Return True if NATS can be reached now."""
        return self._client is not None and self._client.is_connected

    async def run(
        self, *, on_events: Handler, on_wanted: Handler, on_connected: Callable[[], None]
    ) -> None:
        """Stay connected, and pass on pushed messages, until cancelled."""
        reconnecting = False
        while True:
            async with nats_connection.connection(
                self._link,
                name=self._name,
                on_reconnected=on_connected,
                on_lost=self._expire_requests,
                wait_for_files=reconnecting,
            ) as client:
                await nats_connection.subscribe(
                    client, nats_subjects.EVENTS, _wrap_handler(on_events)
                )
                await nats_connection.subscribe(
                    client, nats_subjects.WANTED, _wrap_handler(on_wanted)
                )
                # An inbox of our own: nats-py's `request` returns the first reply, even if forged.
                self._inbox = client.new_inbox()
                await nats_connection.subscribe(client, f"{self._inbox}.*", self._receive)
                self._client = client
                on_connected()
                await nats_connection.wait_until_given_up(client)
            reconnecting = True

    async def request(
        self, subject: str, payload: bytes, *, timeout_s: float, accept: Accept | None = None
    ) -> bytes:
        """Send a request, and return the answer."""
        client, number = self._require_client(), str(next(self._numbers))
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._pending[number] = _PendingRequest(subject, accept, answer)
        try:
            async with asyncio.timeout(timeout_s) as deadline:
                self._deadlines.add(deadline)
                try:
                    await client.publish(subject, payload, reply=f"{self._inbox}.{number}")
                    return await answer
                finally:
                    self._deadlines.discard(deadline)
        except nats_connection.UNREACHABLE_ERRORS as error:
            raise UnreachableError(f"no authority answered {subject} over NATS") from error
        finally:
            del self._pending[number]

    async def _receive(self, message: Msg) -> None:
        pending = self._pending.get(message.subject.rpartition(".")[2])
        if pending is not None:
            pending.receive(message)

    async def send(self, subject: str, payload: bytes) -> None:
        """Send a message that has no answer. If NATS loses it, the next heartbeat repeats it."""
        client = self._require_client()
        try:
            async with asyncio.timeout(_SEND_S):
                await client.publish(subject, payload)
        except nats_connection.UNREACHABLE_ERRORS as error:
            raise UnreachableError(f"{subject} did not reach NATS") from error

    def _expire_requests(self) -> None:
        # No answer can arrive over a lost connection. A waiting request can use HTTP, and has
        # little time: a workload gives up after 250 ms.
        for deadline in self._deadlines:
            deadline.reschedule(asyncio.get_running_loop().time())

    def _require_client(self) -> Client:
        # Without a connection, a request would wait in a buffer, and be outdated when it leaves.
        if self._client is None or not self._client.is_connected:
            raise UnreachableError("NATS cannot be reached")
        return self._client


def _wrap_handler(handler: Handler) -> nats_connection.Handler:
    async def handle(message: Msg) -> None:
        handler(message.data)

    return handle
