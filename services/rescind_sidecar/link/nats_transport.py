"""The NATS transport: requests, which the first authority to answer serves, and pushed events."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, count, repeat

from nats.aio.client import NO_RESPONDERS_STATUS, Client
from nats.aio.msg import Msg
from nats.js.api import Header

from rescind.errors import UnreachableError
from rescind.wire import nats_subjects
from rescind_runtime.links import NatsLink
from rescind_runtime.net import nats_connection
from rescind_sidecar.link.transport import Accept, AuthorityBusyError, Handler

_TELL_S = 2


@dataclass(frozen=True, slots=True)
class _Question:
    """A request under way. `answered` is its reply, or the reason why there is none."""

    subject: str
    accept: Accept | None
    answered: asyncio.Future[bytes]

    def hear(self, message: Msg) -> None:
        """Settle the request by a reply, which any client of NATS may have sent."""
        if self.answered.done():
            return
        if self.accept is not None:
            self._judge(self.accept, message.data)
        elif message.headers and message.headers.get(Header.STATUS) == NO_RESPONDERS_STATUS:
            why = f"no authority listens to {self.subject} over NATS"
            self.answered.set_exception(UnreachableError(why))
        elif message.data:
            self.answered.set_result(message.data)
        else:
            self.answered.set_exception(AuthorityBusyError(self.subject))

    def _judge(self, accept: Accept, payload: bytes) -> None:
        try:
            if accept(payload):
                self.answered.set_result(payload)
        except AuthorityBusyError as error:
            self.answered.set_exception(error)


class NatsTransport:
    """Send and receive messages; `run` keeps the connection, and must be running for that."""

    def __init__(self, link: NatsLink | str, *, name: str) -> None:
        self._link = link
        self._name = name
        self._client: Client | None = None
        self._asking: set[asyncio.Timeout] = set()
        self._inbox = ""
        self._numbers = count()
        self._questions: dict[str, _Question] = {}

    @property
    def connected(self) -> bool:
        """True if NATS can be reached now."""
        return self._client is not None and self._client.is_connected

    async def run(
        self, *, on_events: Handler, on_wanted: Handler, on_connected: Callable[[], None]
    ) -> None:
        """Stay connected, and pass on pushed messages, until cancelled."""
        for again in chain((False,), repeat(True)):
            async with nats_connection.connection(
                self._link,
                name=self._name,
                on_reconnected=on_connected,
                on_lost=self._give_up,
                wait_for_files=again,
            ) as client:
                await nats_connection.subscribe(client, nats_subjects.EVENTS, _handing(on_events))
                await nats_connection.subscribe(client, nats_subjects.WANTED, _handing(on_wanted))
                # An inbox of our own: nats-py's `request` returns the first reply, even if forged.
                self._inbox = client.new_inbox()
                await nats_connection.subscribe(client, f"{self._inbox}.*", self._hear)
                self._client = client
                on_connected()
                await nats_connection.wait_until_given_up(client)

    async def ask(
        self, subject: str, payload: bytes, *, timeout_s: float, accept: Accept | None = None
    ) -> bytes:
        """Send a message and return the answer."""
        client, number = self._reachable(), str(next(self._numbers))
        answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._questions[number] = _Question(subject, accept, answered)
        try:
            async with asyncio.timeout(timeout_s) as deadline:
                self._asking.add(deadline)
                try:
                    await client.publish(subject, payload, reply=f"{self._inbox}.{number}")
                    return await answered
                finally:
                    self._asking.discard(deadline)
        except nats_connection.UNREACHABLE_ERRORS as error:
            raise UnreachableError(f"no authority answered {subject} over NATS") from error
        finally:
            del self._questions[number]

    async def _hear(self, message: Msg) -> None:
        question = self._questions.get(message.subject.rpartition(".")[2])
        if question is not None:
            question.hear(message)

    async def tell(self, subject: str, payload: bytes) -> None:
        """Send a message that has no answer. If NATS loses it, the next heartbeat repeats it."""
        client = self._reachable()
        try:
            async with asyncio.timeout(_TELL_S):
                await client.publish(subject, payload)
        except nats_connection.UNREACHABLE_ERRORS as error:
            raise UnreachableError(f"{subject} did not reach NATS") from error

    def _give_up(self) -> None:
        # No answer can arrive over a lost connection. A waiting request can use HTTP, and has
        # little time: a workload gives up after 250 ms.
        for deadline in self._asking:
            deadline.reschedule(asyncio.get_running_loop().time())

    def _reachable(self) -> Client:
        # Without a connection, a request would wait in a buffer, and be outdated when it leaves.
        if self._client is None or not self._client.is_connected:
            raise UnreachableError("NATS cannot be reached")
        return self._client


def _handing(handler: Handler) -> nats_connection.Handler:
    async def hand(message: Msg) -> None:
        handler(message.data)

    return hand
