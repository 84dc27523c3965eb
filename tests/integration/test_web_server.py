"""The server that the runtime offers: what it bounds, on real sockets."""

import asyncio
import contextlib
import operator
import socket
from collections.abc import Callable
from typing import Any

import httpx2
import psutil
import pytest
from tests.support import silent_clients
from tests.support.eventually import eventually
from tests.support.silent_clients import is_open, until_closed

from rescind_runtime.net import http_server
from rescind_runtime.net.connection_limits import SCOPE_KEY, Connections, Limits

MIB = 1024 * 1024
SHORT = Limits(head_s=0.2, body_s=0.2, idle_s=0.2, stalled_s=0.2, look_s=0.05)
GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
HALF = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n{"


class Application:
    """Answer a request when its body is whole: as the path says."""

    def __init__(self) -> None:
        self.free = asyncio.Event()
        self.waiting = 0
        self.left = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if scope["path"] == "/prove":
            scope[SCOPE_KEY].prove("owner")
        if scope["query_string"] == b"refused":
            scope[SCOPE_KEY].disprove()
        if scope["path"] != "/unread":
            while (message := await receive()).get("more_body"):
                pass
            if message["type"] == "http.disconnect":
                self.left += 1
                return
        self.waiting += 1
        if scope["path"] in {"/wait", "/unread"}:
            await self.free.wait()
        self.waiting -= 1
        body = bytes(8 * MIB) if scope["path"] == "/large" else b"ok"
        length = str(len(body)).encode()
        headers = [(b"content-length", length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nhost: a\r\nx: ",
        HALF,
        HALF.replace(b"/", b"/unread", 1),
        GET,
        GET + b"G",
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab",
        b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n",
        b"\r\n",
    ],
)
async def test_a_stalled_connection_is_closed(sent: bytes) -> None:
    connections = Connections(SHORT)
    application = Application()
    async with (
        http_server.serving(application, "127.0.0.1:0", connections=connections) as url,
        silent_clients.silent(url, 1, sent),
    ):
        await eventually(lambda: number_of(lambda: connections.admitted))
        await eventually(lambda: number_of(lambda: len(connections)), until=operator.not_)
        application.free.set()


async def test_sending_a_little_now_and_then_extends_no_deadline() -> None:
    connections = Connections(SHORT)
    ways = (b"GET / HTTP/1.1\r\n", HALF.replace(b" 10", b" 100000"), GET + b"GET / ")
    async with http_server.serving(Application(), "127.0.0.1:0", connections=connections) as url:
        for sent in ways:
            async with asyncio.timeout(30), silent_clients.silent(url, 1, sent) as (client,):
                while is_open(client):
                    with contextlib.suppress(ConnectionError):
                        client.send(b"a")
                    await asyncio.sleep(0.01)


async def test_a_request_may_take_as_long_as_its_answer_takes() -> None:
    application = Application()
    connections = Connections(SHORT)
    async with http_server.serving(application, "127.0.0.1:0", connections=connections) as url:
        client = await silent_clients.connect(url, GET.replace(b"/", b"/wait", 1))
        other = await silent_clients.connect(url)
        await until_closed(other)  # as long as a silent one is kept
        assert is_open(client)
        application.free.set()
        assert b"200 OK" in await until_closed(client)
        client.close()
        other.close()


@pytest.mark.parametrize("line", [b"x%d: " + b"y" * 1000 + b"\r\n", b"y" * 1000])
async def test_a_head_without_an_end_is_cut_off(line: bytes) -> None:
    await stopped(b"GET / HTTP/1.1\r\nhost: a\r\n", line)


@pytest.mark.parametrize(
    "rest", [b"0\r\n", b"1;", b"1" * 10], ids=["trailers", "an extension", "a size"]
)
async def test_a_chunk_without_an_end_is_cut_off(rest: bytes) -> None:
    head = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
    await stopped(head + rest, b"x: " + b"y" * 1000 + b"\r\n" if rest == b"0\r\n" else b"1" * 1000)


async def stopped(head: bytes, more: bytes) -> None:
    """Send more and more, until the server ends it; see that it kept little of it."""
    async with http_server.serving(Application(), "127.0.0.1:0") as url:
        client = await silent_clients.connect(url, head)
        before = psutil.Process().memory_info().rss
        with pytest.raises(ConnectionError):
            await sent_in_all(client, more)
        assert psutil.Process().memory_info().rss - before < 16 * MIB
        client.close()


async def test_a_body_that_the_application_does_not_read_is_not_buffered() -> None:
    application = Application()
    async with http_server.serving(application, "127.0.0.1:0") as url:
        head = b"POST /unread HTTP/1.1\r\nhost: a\r\ncontent-length: 100000000\r\n\r\n"
        client = await silent_clients.connect(url, head)
        await eventually(lambda: number_of(lambda: application.waiting))
        before = psutil.Process().memory_info().rss
        assert await sent_in_all(client, bytes(65_536)) < 16 * MIB  # the kernel's buffers
        assert psutil.Process().memory_info().rss - before < 8 * MIB
        client.close()
        application.free.set()


async def test_an_answer_before_the_body_is_read_keeps_the_connection_usable() -> None:
    application = Application()
    application.free.set()
    async with (
        http_server.serving(application, "127.0.0.1:0") as url,
        httpx2.AsyncClient(base_url=url, timeout=30) as client,
    ):
        for _ in range(3):
            early = await client.post("/unread", content=bytes(8 * MIB))
            assert (early.status_code, early.text) == (httpx2.codes.OK, "ok")
            assert (await client.get("/")).status_code == httpx2.codes.OK


async def test_a_request_for_another_protocol_stays_within_the_limits() -> None:
    connections = Connections(SHORT)
    async with http_server.serving(Application(), "127.0.0.1:0", connections=connections) as url:
        upgrade = GET.replace(
            b"\r\n\r\n",
            b"\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
            b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        client = await silent_clients.connect(url, upgrade)
        answer = await until_closed(client)
        assert answer.startswith(b"HTTP/1.1 200")
        client.close()


# Too many ------------------------------------------------------------------------------------


async def test_beyond_the_limit_the_connection_that_was_silent_longest_is_closed() -> None:
    application, connections = Application(), Connections(Limits(most=4))
    async with http_server.serving(application, "127.0.0.1:0", connections=connections) as url:
        working = await silent_clients.connect(url, GET.replace(b"/", b"/wait", 1))
        await eventually(lambda: number_of(lambda: application.waiting))
        async with silent_clients.silent(url, 3) as (first, second, third):
            await eventually(lambda: number_of(lambda: len(connections) == 4))
            assert await got(url) == httpx2.codes.OK
            assert await until_closed(first) == b""
            assert [is_open(each) for each in (second, third, working)] == [True] * 3
        application.free.set()
        working.close()
        assert connections.closed_for_others == 1


async def test_an_authenticated_connection_is_not_closed_for_an_unauthenticated_one() -> None:
    application, connections = Application(), Connections(Limits(most=4))
    async with http_server.serving(application, "127.0.0.1:0", connections=connections) as url:
        admin = await silent_clients.connect(url, GET.replace(b"/", b"/prove", 1))
        assert b"200 OK" in await asyncio.get_running_loop().sock_recv(admin, 4_096)
        async with silent_clients.silent(url, 10):
            await eventually(lambda: number_of(lambda: connections.closed_for_others == 7))
            assert is_open(admin)
        admin.close()


async def test_if_all_connections_are_authenticated_the_idlest_one_is_closed() -> None:
    connections = Connections(Limits(most=3))
    async with http_server.serving(Application(), "127.0.0.1:0", connections=connections) as url:
        proven = [
            await silent_clients.connect(url, GET.replace(b"/", b"/prove", 1)) for _ in range(3)
        ]
        for client in proven:
            await asyncio.get_running_loop().sock_recv(client, 4_096)
        assert await got(url) == httpx2.codes.OK
        assert await until_closed(proven[0]) in {b"", b"ok"}
        assert is_open(proven[2])
        for client in proven:
            client.close()


async def test_if_all_connections_serve_authenticated_clients_one_more_gets_503() -> None:
    application, connections = Application(), Connections(Limits(most=2))

    async def proving(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            scope[SCOPE_KEY].prove("owner")
        await application(scope, receive, send)

    async with http_server.serving(proving, "127.0.0.1:0", connections=connections) as url:
        wait = GET.replace(b"/", b"/wait", 1)
        clients = [await silent_clients.connect(url, wait) for _ in range(2)]
        await eventually(lambda: number_of(lambda: application.waiting == 2))
        third = await silent_clients.connect(url, wait)
        assert b"503" in await until_closed(third)
        application.free.set()
        for client in (*clients, third):
            client.close()


@pytest.mark.parametrize("after", [GET, GET.replace(b"/", b"/prove?refused", 1)])
async def test_an_authentication_is_valid_for_one_request_and_the_pause_after_it(
    after: bytes,
) -> None:
    connections = Connections(Limits(most=3))
    async with http_server.serving(Application(), "127.0.0.1:0", connections=connections) as url:
        client = await silent_clients.connect(url, GET.replace(b"/", b"/prove", 1) + after)
        received = b""
        while received.count(b"200 OK") < 2:
            received += await asyncio.get_running_loop().sock_recv(client, 4_096)
        async with silent_clients.silent(url, 3):
            await until_closed(client)
        client.close()


async def test_the_connections_of_one_peer_and_of_one_owner_are_bounded() -> None:
    connections = Connections(Limits(most=100, most_of_peer=3, most_of_owner=2))
    async with http_server.serving(Application(), "127.0.0.1:0", connections=connections) as url:
        prove = GET.replace(b"/", b"/prove", 1)
        proven = [await silent_clients.connect(url, prove) for _ in range(3)]
        for client in proven:
            await asyncio.get_running_loop().sock_recv(client, 4_096)
        async with silent_clients.silent(url, 4):
            # The third of this owner counts as of no owner, and is the idlest of those.
            assert await until_closed(proven[2]) in {b"", b"ok"}
            assert is_open(proven[0])
            await eventually(lambda: number_of(lambda: connections.closed_for_others == 2))
            assert len(connections) == 5
        for client in proven:
            client.close()


async def test_the_bound_for_one_peer_does_not_apply_to_a_proxy() -> None:
    limits = Limits(most=100, most_of_peer=1)
    connections = Connections(limits, many_behind={"127.0.0.1"}.__contains__)
    async with (
        http_server.serving(Application(), "127.0.0.1:0", connections=connections) as url,
        silent_clients.silent(url, 5) as clients,
    ):
        assert await got(url) == httpx2.codes.OK
        assert all(is_open(client) for client in clients)


async def test_only_the_address_of_the_proxy_is_exempt_and_not_its_whole_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[str] = []

    def many_behind(address: str) -> bool:
        seen.append(address)
        return True

    connections = Connections(Limits(most_of_peer=1), many_behind=many_behind)
    async with http_server.serving(Application(), "[::1]:0", connections=connections) as url:
        for _ in range(3):
            assert await got(url) == httpx2.codes.OK
    assert set(seen) == {"::1"}  # the address, and not the network that it is counted by


async def got(url: str) -> int:
    async with httpx2.AsyncClient(base_url=url) as client:
        return (await client.get("/")).status_code


async def sent_in_all(client: socket.socket, more: bytes) -> int:
    """Send up to 64 MiB, until the other side takes no more, and return how much that was."""
    sent = 0
    with contextlib.suppress(TimeoutError):
        while sent < 64 * MIB:
            async with asyncio.timeout(0.5):
                await asyncio.get_running_loop().sock_sendall(client, more)
            sent += len(more)
    return sent


async def number_of(read: Callable[[], int]) -> int:
    return read()
