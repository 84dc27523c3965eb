"""NATS goes at the worst moment, or is slow: a sidecar's transport says so, and works on.

The server here is scripted, so that it hangs up and holds back when the test says; nats-py and
uvloop are the real ones.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import uvloop
from nats.aio.transport import TcpTransport

from rescind.errors import UnreachableError
from rescind.wire import nats_subjects
from rescind_runtime.net import nats_connection
from rescind_sidecar.link.nats_transport import NatsTransport

_INFO = json.dumps({"server_id": "x", "version": "2.15.1", "max_payload": 1 << 20, "headers": True})
_DEADLINE_S = 10.0


@dataclass
class FakeNatsServer:
    """As much of NATS as a client needs to connect. Without `patient` it answers no PING.

    `garbled` is what it says to the first ones, instead of a greeting.
    """

    patient: bool = True
    garbled: list[bytes] = field(default_factory=list[bytes])
    writer: asyncio.StreamWriter | None = None
    unanswered: int = 0
    names: dict[str, str] = field(default_factory=dict[str, str])
    subscribed: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        try:
            if self.garbled:
                self.say(self.garbled.pop())
                return
            self.say(f"INFO {_INFO}\r\n".encode())
            while line := (await reader.readline()).decode().split():
                match line:
                    case ["PING"] if self.patient:
                        self.say(b"PONG\r\n")
                    case ["PING"]:
                        self.unanswered += 1
                    case ["SUB", subject, *_, name]:
                        self.names[subject] = name
                        if subject == nats_subjects.WANTED:
                            self.subscribed.set()
                    case _:
                        pass
        finally:
            writer.close()

    def say(self, text: bytes) -> None:
        assert self.writer is not None
        self.writer.write(text)

    def hang_up(self) -> None:
        assert self.writer is not None
        self.writer.close()

    def answer(self) -> None:
        """Answer what was held back, and be patient from now on."""
        self.patient = True
        self.say(b"PONG\r\n" * self.unanswered)

    def push(self, subject: str, payload: bytes) -> None:
        head = f"MSG {subject} {self.names[subject]} {len(payload)}\r\n"
        self.say(head.encode() + payload + b"\r\n")


@asynccontextmanager
async def connected(
    heard: Callable[[bytes], None], *garbled: bytes
) -> AsyncIterator[tuple[FakeNatsServer, NatsTransport]]:
    server, there = FakeNatsServer(garbled=list(garbled)), asyncio.Event()
    async with (
        await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening,
        asyncio.TaskGroup() as tasks,
    ):
        port = listening.sockets[0].getsockname()[1]
        transport = NatsTransport(f"nats://127.0.0.1:{port}", name="test")
        running = tasks.create_task(
            transport.run(on_events=heard, on_wanted=heard, on_connected=there.set)
        )
        await there.wait()
        await server.subscribed.wait()
        try:
            yield server, transport
        finally:
            running.cancel()


def run(story: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(_DEADLINE_S):
            await story()

    uvloop.run(bounded())


def test_a_connection_that_was_just_lost_is_unreachable_and_not_a_defect() -> None:
    async def story() -> None:
        async with connected(lambda _: None) as (_, transport):
            client = transport._client
            assert client is not None
            # Without its reading task nats-py takes itself for connected. The transport is closed,
            # and uvloop raises a RuntimeError.
            assert client._reading_task is not None
            client._reading_task.cancel()
            assert isinstance(client._transport, TcpTransport)
            assert client._transport._io_writer is not None
            client._transport._io_writer.transport.abort()
            away = 0
            while not away:
                for send in (
                    lambda: transport.send(nats_subjects.ACK, b"x"),
                    lambda: transport.request(nats_subjects.HEARTBEAT, b"x", timeout_s=0.05),
                ):
                    try:
                        await send()
                    except UnreachableError:
                        away += 1

    run(story)


def test_a_server_that_answers_late_does_not_end_what_is_pushed() -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def story() -> None:
        async with connected(heard.put_nowait) as (server, transport):
            server.patient = False
            await transport.send(nats_subjects.ACK, b"x")
            server.answer()
            server.push(nats_subjects.EVENTS, b"an event")
            assert await heard.get() == b"an event"

    run(story)


def test_a_client_that_has_stopped_trying_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nats_connection, "_POLL_S", 0.02)
    monkeypatch.setattr(nats_connection, "_MAX_DISCONNECTED_S", 0.1)
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def story() -> None:
        async with connected(heard.put_nowait) as (server, transport):
            server.subscribed.clear()
            server.hang_up()
            while transport.connected:
                await asyncio.sleep(0)
            first = transport._client
            assert first is not None
            assert first._reconnection_task is not None
            first._reconnection_task.cancel()
            await server.subscribed.wait()
            server.push(nats_subjects.EVENTS, b"an event")
            assert await heard.get() == b"an event"
            assert transport.connected
            assert transport._client is not first

    run(story)


def test_a_server_that_does_not_speak_nats_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nats_connection, "_POLL_S", 0.02)
    greetings = (b"INFO []\r\n", b"INFO " + b"x" * 200_000, b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async def story() -> None:
        async with connected(lambda _: None, *greetings) as (server, transport):
            assert transport.connected
            assert not server.garbled

    run(story)
