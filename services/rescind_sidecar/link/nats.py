"""The authority over NATS: requests to whichever of them answers first, and what they push."""

from collections.abc import Callable
from typing import TypeVar

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from rescind.errors import MalformedMessageError, UnreachableError
from rescind.wire import heartbeat, records, subjects, used
from rescind_runtime import bus

_HEARTBEAT_S = 1.5
_LOOK_S = 0.5
_TELL_S = 2

_T = TypeVar("_T")
Handler = Callable[[bytes], None]


class NatsLink:
    """Speak to the authority; `run` keeps the connection, and must run for anything to work."""

    def __init__(self, url: str, *, name: str) -> None:
        self._url = url
        self._name = name
        self._client: Client | None = None

    @property
    def connected(self) -> bool:
        """Whether NATS can be reached now."""
        return self._client is not None and self._client.is_connected

    async def run(
        self, *, on_events: Handler, on_wanted: Handler, on_connected: Callable[[], None]
    ) -> None:
        """Keep connected, and hand on what is pushed, for as long as the process lives."""
        async with bus.connection(
            self._url, name=self._name, on_reconnected=on_connected
        ) as client:
            await bus.subscribe(client, subjects.EVENTS, _handing(on_events))
            await bus.subscribe(client, subjects.WANTED, _handing(on_wanted))
            await client.flush()
            self._client = client
            on_connected()
            await bus.forever()

    async def beat(self, message: heartbeat.Heartbeat) -> heartbeat.Reply:
        """Ask for a lease."""
        payload = heartbeat.encode(message)
        answer = await self._ask(subjects.HEARTBEAT, payload, timeout_s=_HEARTBEAT_S)
        return _read(heartbeat.decode_reply, answer)

    async def since(self, message: heartbeat.Since) -> heartbeat.Events:
        """Ask for missing events."""
        payload = heartbeat.encode_since(message)
        answer = await self._ask(subjects.SINCE, payload, timeout_s=_HEARTBEAT_S)
        return _read(heartbeat.decode_events, answer)

    async def resolve(self, message: records.Resolve) -> records.Resolved:
        """Ask for the record of a token."""
        payload = records.encode_resolve(message)
        answer = await self._ask(subjects.RESOLVE, payload, timeout_s=_LOOK_S)
        return _read(records.decode_resolved, answer)

    async def acknowledge(self, message: heartbeat.Ack) -> None:
        """Say that events are applied."""
        await self._tell(subjects.ACK, heartbeat.encode_ack(message))

    async def release(self, message: heartbeat.Release) -> None:
        """Give the instance up."""
        await self._tell(subjects.HEARTBEAT, heartbeat.encode(message))

    async def used(self, message: used.Used) -> None:
        """Say which tokens are in use."""
        await self._tell(subjects.USED, used.encode(message))

    async def _ask(self, subject: str, payload: bytes, *, timeout_s: float) -> bytes:
        client = self._reachable()
        try:
            answer = await client.request(subject, payload, timeout=timeout_s)
        except (NatsError, TimeoutError, OSError) as error:
            raise UnreachableError(f"no authority answered {subject} over NATS") from error
        if not answer.data:
            raise UnreachableError(f"the authority cannot answer {subject} now")
        return answer.data

    async def _tell(self, subject: str, payload: bytes) -> None:
        client = self._reachable()
        try:
            await client.publish(subject, payload)
            await client.flush(_TELL_S)
        except (NatsError, TimeoutError, OSError) as error:
            raise UnreachableError(f"{subject} did not reach NATS") from error

    def _reachable(self) -> Client:
        # A request while NATS is away would wait in a buffer, and be an old one when it leaves.
        if self._client is None or not self._client.is_connected:
            raise UnreachableError("NATS cannot be reached")
        return self._client


def _handing(handler: Handler) -> bus.Handler:
    async def hand(message: Msg) -> None:
        handler(message.data)

    return hand


def _read(decode: Callable[[bytes], _T], answer: bytes) -> _T:
    """Decode an answer; one that nobody can read counts as none."""
    try:
        return decode(answer)
    except MalformedMessageError as error:
        raise UnreachableError(f"the authority's answer cannot be read: {error}") from error
