"""The link between a sidecar and an authority, over each transport, to an authority of the test."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from tests.simulation.network import Host, Network
from tests.simulation.sidecar import SimulatedNatsTransport, SimulatedTransport

from rescind.wire import nats_subjects
from rescind_runtime.net import http_server, nats_connection
from rescind_sidecar.link.failover import FailoverTransport
from rescind_sidecar.link.http_transport import HttpTransport
from rescind_sidecar.link.nats_transport import NatsTransport
from rescind_sidecar.link.transport import Transport
from rescind_sidecar.stats.counters import Counters

NOWHERE = "http://127.0.0.1:9"
"""A port of this machine where no server listens."""

SUBJECTS = (
    nats_subjects.HEARTBEAT,
    nats_subjects.RESOLVE,
    nats_subjects.SINCE,
    nats_subjects.ENROL,
    nats_subjects.OFFER,
)
WITHOUT_ANSWER = (nats_subjects.ACK, nats_subjects.USED)

Answers = Callable[[str, bytes], Awaitable[list[bytes]]]
"""Return the answers to a message, in their order."""


async def _echo(subject: str, payload: bytes) -> list[bytes]:
    return [payload]


@dataclass(eq=False)
class Peer:
    """An authority that answers as the test says, as `SimulatedTransport` calls it."""

    answers: Answers = _echo
    host: Host = field(default_factory=lambda: Host("authority"))
    alive: bool = True
    messages: asyncio.Queue[tuple[str, bytes]] = field(
        default_factory=asyncio.Queue[tuple[str, bytes]]
    )
    tasks: asyncio.TaskGroup | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the test ends, so that a server does not wait for a silent authority."""

    def ask(self, subject: str, payload: bytes, answer: Callable[[bytes], None]) -> None:
        """Answer a message of the network in memory."""
        if self.tasks is None:
            return  # it was under way when the test ended: no authority is left
        self.messages.put_nowait((subject, payload))
        self.tasks.create_task(self._answer(subject, payload, answer))

    def receive(self, subject: str, payload: bytes) -> None:
        """Store a message without an answer."""
        self.messages.put_nowait((subject, payload))

    async def _answer(self, subject: str, payload: bytes, answer: Callable[[bytes], None]) -> None:
        for each in await self.answers(subject, payload):
            answer(each)

    async def over_http(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a message over HTTP (ASGI): with the first answer, since there is only one."""
        request = Request(scope, receive)
        subject = f"rescind.v1.{request.url.path.rpartition('/')[2]}"
        payload = await request.body()
        self.messages.put_nowait((subject, payload))
        answer = b"" if subject in WITHOUT_ANSWER else (await self.answers(subject, payload))[0]
        await Response(answer, 200 if answer else 204)(scope, receive, send)

    async def over_nats(self, message: Msg) -> None:
        """Answer a message over NATS."""
        self.messages.put_nowait((message.subject, message.data))
        if not message.reply or self.tasks is None:
            return

        async def respond() -> None:
            for each in await self.answers(message.subject, message.data):
                await message.respond(each)

        # A client of NATS delivers one message after the other; an authority answers all at once.
        self.tasks.create_task(respond())


Linked = Callable[..., AbstractAsyncContextManager[Transport]]
"""Yield a transport to these authorities, which listens and is connected."""


@asynccontextmanager
async def http_in_memory(*peers: Peer) -> AsyncGenerator[Transport]:
    """Yield the transport of the simulation that stands for HTTP."""
    async with _answering(*peers):
        yield SimulatedTransport(Host("sidecar"), Network(1), _there(peers), "1")


@asynccontextmanager
async def nats_in_memory(*peers: Peer) -> AsyncGenerator[Transport]:
    """Yield the transport of the simulation that stands for NATS."""
    async with _answering(*peers):
        yield SimulatedNatsTransport(Host("sidecar"), Network(1), _there(peers), "1")


@asynccontextmanager
async def over_http(*peers: Peer) -> AsyncGenerator[Transport]:
    """Yield the HTTP transport to a server for each authority."""
    async with served(*peers) as urls, http_to(*urls) as transport:
        yield transport


@asynccontextmanager
async def over_nats(*peers: Peer, nats_url: str) -> AsyncGenerator[Transport]:
    """Yield the NATS transport to subscribers of a NATS server."""
    async with _answering(*peers), AsyncExitStack() as stack:
        for peer in peers:
            client = await stack.enter_async_context(nats_client(nats_url))
            for subject in (*SUBJECTS, *WITHOUT_ANSWER):
                queue = "" if subject == nats_subjects.ACK else nats_subjects.AUTHORITY_QUEUE
                await nats_connection.subscribe(client, subject, peer.over_nats, queue=queue)
            await client.flush()
        yield await stack.enter_async_context(nats_to(nats_url))


@asynccontextmanager
async def over_either(*peers: Peer, nats_url: str) -> AsyncGenerator[Transport]:
    """Yield the failover between the NATS and the HTTP transport, to the same authorities."""
    async with (
        over_nats(*peers, nats_url=nats_url),
        served(*peers) as urls,
        failover_to(nats_url, *urls) as transport,
    ):
        yield transport


# Parts of these ----------------------------------------------------------------------------------


@asynccontextmanager
async def served(*peers: Peer) -> AsyncGenerator[list[str]]:
    """Serve each authority over HTTP for the block; yield their URLs."""
    async with AsyncExitStack() as stack:
        urls = [
            await stack.enter_async_context(
                http_server.serving(_application(peer.over_http), "127.0.0.1:0")
            )
            for peer in peers
        ]
        try:
            yield urls
        finally:
            for peer in peers:
                peer.over.set()


@asynccontextmanager
async def nats_client(nats_url: str) -> AsyncGenerator[Client]:
    """Yield a client of NATS."""
    async with nats_connection.connection(nats_url, name="test") as client:
        yield client


@asynccontextmanager
async def http_to(*urls: str) -> AsyncGenerator[HttpTransport]:
    """Run an HTTP transport for the block."""
    transport = HttpTransport(urls or [NOWHERE])
    async with running(transport.run()):
        await asyncio.sleep(0)  # lets it open its connection pools
        yield transport


@asynccontextmanager
async def nats_to(nats_url: str) -> AsyncGenerator[NatsTransport]:
    """Run a NATS transport for the block; it is connected."""
    transport, connected = NatsTransport(nats_url, name="sidecar"), asyncio.Event()
    run = transport.run(on_events=_drop, on_wanted=_drop, on_connected=connected.set)
    async with running(run):
        await connected.wait()
        yield transport


@asynccontextmanager
async def failover_to(nats_url: str, *urls: str) -> AsyncGenerator[FailoverTransport]:
    """Run a failover between both transports for the block; NATS is connected."""
    connected = asyncio.Event()
    transport = FailoverTransport(
        NatsTransport(nats_url, name="sidecar"),
        HttpTransport(urls or [NOWHERE]),
        Counters(),
        probe=_probe,
    )
    run = transport.run(on_events=_drop, on_wanted=_drop, on_connected=connected.set)
    async with running(run):
        await connected.wait()
        yield transport


@asynccontextmanager
async def running(job: Coroutine[Any, Any, None]) -> AsyncGenerator[None]:
    """Run a job for the block."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(job)
        try:
            yield
        finally:
            task.cancel()


@asynccontextmanager
async def _answering(*peers: Peer) -> AsyncGenerator[None]:
    """Give each authority a place for its answers; those that were never given end here."""
    async with asyncio.TaskGroup() as outer:

        async def live() -> None:
            async with asyncio.TaskGroup() as tasks:
                for peer in peers:
                    peer.tasks = tasks
                ready.set()
                await asyncio.Event().wait()

        ready = asyncio.Event()
        living = outer.create_task(live())
        await ready.wait()
        try:
            yield
        finally:
            for peer in peers:
                peer.tasks = None
            living.cancel()


def _application(app: ASGIApp) -> ASGIApp:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)  # uvicorn takes a bound method for another interface

    return application


def _there(peers: tuple[Peer, ...]) -> Callable[[], Any]:
    return partial(list[Peer], peers)


async def _probe(_: Transport) -> None:
    raise AssertionError("no test here waits so long that NATS is tried again")


def _drop(_: bytes) -> None:
    return None
