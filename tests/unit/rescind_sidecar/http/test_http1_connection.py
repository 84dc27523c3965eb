"""HTTP/1.1 on one connection: in order, bounded, and never hanging."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from tests.support.http_exchange import RawConnection, ask, bearer, connect_raw, request, served

from rescind.testing import FakeVerifier
from rescind_sidecar.http import http1_connection
from rescind_sidecar.http.http1_connection import Listener, Pending
from rescind_sidecar.http.messages import NO_STORE, HttpRequest, HttpResponse


async def test_a_connection_is_kept_and_many_calls_go_over_it(
    port: int, verifier: FakeVerifier
) -> None:
    good = request("/verify", bearer(verifier.issue().token))
    async with connect_raw(port) as line:
        for _ in range(5):
            assert (await line.ask(good)).status == 200
            assert (await line.ask(request("/verify"))).status == 401
        last = await line.ask(request("/verify", "Connection: close"))
        assert last.headers["connection"] == "close"
        assert await line.ended()


async def test_pipelined_calls_are_answered_in_order(port: int, verifier: FakeVerifier) -> None:
    good, bad = request("/verify", bearer(verifier.issue().token)), request("/verify")
    async with connect_raw(port) as line:
        await line.send((good + bad + good + request("/nowhere")) * 100)
        seen = [(await line.answer()).status for _ in range(400)]
    assert seen == [200, 401, 200, 404] * 100


async def test_a_slow_answer_delays_only_later_ones_on_its_own_connection() -> None:
    slow = asyncio.Event()

    async def wait() -> HttpResponse:
        await slow.wait()
        return HttpResponse(200, NO_STORE, b"slow")

    def application(asked: HttpRequest) -> HttpResponse | Pending:
        return wait() if asked.path == "/slow" else HttpResponse(200, NO_STORE, asked.path.encode())

    async with served(application) as (port, _), connect_raw(port) as line:
        await line.send(request("/slow") + request("/next"))
        assert (await ask(port, request("/other"))).body == b"/other"
        slow.set()
        assert [(await line.answer()).body for _ in range(2)] == [b"slow", b"/next"]


async def test_a_request_may_come_in_any_pieces(port: int, verifier: FakeVerifier) -> None:
    sent = request("/verify/x?require=a", bearer(verifier.issue(scopes={"a"}).token))
    async with connect_raw(port) as line:
        for byte in sent:
            line.writer.write(bytes([byte]))
            await asyncio.sleep(0)
        assert (await line.answer()).status == 200


@pytest.mark.parametrize(
    "framing", ["Content-Length: 0", "Content-Length: 5000", "Transfer-Encoding: chunked"]
)
async def test_a_body_that_was_announced_and_never_comes_delays_no_answer(
    port: int, verifier: FakeVerifier, framing: str
) -> None:
    # nginx passes the length of a body on that it does not send to who authorises.
    token = verifier.issue().token
    async with connect_raw(port) as line:
        answer = await line.ask(request("/verify", bearer(token), framing, method="POST"))
        assert answer.status == 200
        # What comes next could be taken for the body: nothing may be asked on this connection.
        kept = framing == "Content-Length: 0"
        assert answer.headers["connection"] == ("keep-alive" if kept else "close")


@pytest.mark.parametrize("size", [1, 10_000, 3_000_000])
async def test_a_body_that_does_come_is_dropped_and_the_answer_arrives(
    port: int, verifier: FakeVerifier, size: int
) -> None:
    token = verifier.issue().token
    async with connect_raw(port) as line:
        await line.send(request("/verify", bearer(token), method="POST", body=b"x" * size))
        assert (await line.answer()).status == 200


async def test_a_body_in_chunks_is_dropped_too(port: int, verifier: FakeVerifier) -> None:
    token = verifier.issue().token
    head = request("/verify", bearer(token), "Transfer-Encoding: chunked", method="POST")
    async with connect_raw(port) as line:
        assert (await line.ask(head + b"5\r\nhello\r\n0\r\n\r\n")).status == 200
        assert (await line.ask(request("/verify", bearer(token)))).status == 200


async def test_the_answer_to_head_has_the_length_of_its_body_and_no_body(port: int) -> None:
    async with connect_raw(port) as line:
        for _ in range(2):
            answer = await line.ask(request("/verify", method="HEAD"))
            assert (answer.status, answer.body) == (401, b"")
            assert int(answer.headers["content-length"]) > 0
        assert (await line.ask(request("/nowhere"))).status == 404


@pytest.mark.parametrize("ask_for", ["websocket", "h2c"])
async def test_a_request_to_upgrade_the_protocol_is_answered_without_an_upgrade(
    port: int, verifier: FakeVerifier, ask_for: str
) -> None:
    upgrade = (f"Upgrade: {ask_for}", "Connection: Upgrade")
    async with connect_raw(port) as line:
        answer = await line.ask(request("/verify", bearer(verifier.issue().token), *upgrade))
        assert answer.status == 200


async def test_http_1_0_is_spoken(port: int, verifier: FakeVerifier) -> None:
    head = f"GET /verify HTTP/1.0\r\n{bearer(verifier.issue().token)}\r\n".encode()
    async with connect_raw(port) as line:
        assert (await line.ask(head + b"\r\n")).status == 200
        assert await line.ended()
    async with connect_raw(port) as line:
        for _ in range(2):
            answer = await line.ask(head + b"Connection: keep-alive\r\n\r\n")
            assert (answer.status, answer.headers["connection"]) == (200, "keep-alive")


@pytest.mark.parametrize(
    "junk",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),  # TLS
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /verify HTTP/9.9\r\n\r\n",
        b"GET /verify HTTP/1.1\r\nA\x00: b\r\n\r\n",
        b"GET /verify HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /verify HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        b"GET /verify HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
        b"GET /verify HTTP/1.1\nHost: x\n\n",
        b"GET /verify/\xe9 HTTP/1.1\r\n\r\n",
        b"GET verify HTTP/1.1\r\n\r\n",
    ],
)
async def test_a_malformed_request_is_refused_after_earlier_ones_are_answered(
    port: int, verifier: FakeVerifier, junk: bytes
) -> None:
    good = request("/verify", bearer(verifier.issue().token))
    async with connect_raw(port) as line:
        await line.send(good + junk)
        assert (await line.answer()).status == 200
        assert (await line.answer()).status == 400


async def test_an_endless_head_is_cut_off(port: int) -> None:
    async with connect_raw(port) as line:
        await line.send(b"GET /verify HTTP/1.1\r\n", *[b"X: " + b"y" * 8000 + b"\r\n"] * 20)
        assert (await line.answer()).status in {400, 431}


async def look(listener: Listener, times: int) -> None:
    for _ in range(times):
        for each in list(listener.connections):
            each.end_if_idle()


async def test_a_slow_sender_gets_408_and_an_idle_connection_is_closed() -> None:
    def application(_: HttpRequest) -> HttpResponse:
        return HttpResponse(200, NO_STORE)

    async with (
        served(application) as (port, listener),
        connect_raw(port) as slow,
        connect_raw(port) as idle,
    ):
        assert (await idle.ask(request("/"))).status == 200
        await slow.send(b"GET /verify HTTP/1.1\r\n")
        await until_connected(listener, 2)
        await look(listener, 3)
        assert (await slow.answer()).status == 408
        assert (await idle.ask(request("/"))).status == 200
        await look(listener, 16)
        await hung_up(idle)


async def hung_up(line: RawConnection) -> None:
    try:
        assert await line.ended()
    except ConnectionResetError:
        return


async def until_connected(listener: Listener, number: int) -> None:
    async with asyncio.timeout(10):
        while len(listener.connections) < number:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("bound", ["_MAX_CONNECTIONS", "_MAX_PER_PEER"])
async def test_a_connection_beyond_the_limit_replaces_the_idlest_one(
    monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    monkeypatch.setattr(http1_connection, bound, 3)
    async with (
        served(lambda _: HttpResponse(200, NO_STORE)) as (port, listener),
        connect_raw(port) as answered,
        connect_raw(port) as silent,
        connect_raw(port) as slow,
    ):
        assert (await answered.ask(request("/"))).status == 200
        await slow.send(b"GET /verify HTTP/1.1\r\n")
        await until_connected(listener, 3)
        for gone in (silent, slow, answered):
            async with connect_raw(port) as another:
                assert (await another.ask(request("/"))).status == 200
                if gone is not answered:
                    assert (await answered.ask(request("/"))).status == 200
            if gone is answered:
                continue
            await hung_up(gone)


async def test_if_all_connections_wait_for_an_answer_one_more_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    going = asyncio.Event()

    async def wait() -> HttpResponse:
        await going.wait()
        return HttpResponse(200, NO_STORE)

    monkeypatch.setattr(http1_connection, "_MAX_CONNECTIONS", 2)
    async with (
        served(lambda _: wait()) as (port, listener),
        connect_raw(port) as one,
        connect_raw(port) as two,
    ):
        await one.send(request("/"))
        await two.send(request("/"))
        async with asyncio.timeout(10):
            while len(listener.connections) < 2 or any(each.idle for each in listener.connections):
                await asyncio.sleep(0.001)
        async with connect_raw(port) as third:
            assert (await third.answer()).status == 503
        going.set()
        assert [(await line.answer()).status for line in (one, two)] == [200, 200]


async def test_a_connection_whose_body_is_held_back_keeps_no_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http1_connection, "_MAX_PER_PEER", 3)
    half = request("/v1/check", "Content-Length: 9", method="POST") + b"{"
    async with (
        served(lambda _: HttpResponse(200, NO_STORE)) as (port, listener),
        connect_raw(port) as one,
        connect_raw(port) as two,
        connect_raw(port) as three,
    ):
        for line in (one, two, three):
            await line.send(half)
        await until_connected(listener, 3)
        assert (await ask(port, request("/"))).status == 200
        await hung_up(one)


async def test_many_silent_connections_keep_no_other_client_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http1_connection, "_MAX_PER_PEER", 50)
    async with (
        served(lambda _: HttpResponse(200, NO_STORE)) as (port, listener),
        connect_raw(port) as proxy,
    ):
        assert (await proxy.ask(request("/"))).status == 200
        async with AsyncExitStack() as silent:
            for _ in range(200):
                await silent.enter_async_context(connect_raw(port))
            assert (await proxy.ask(request("/"))).status == 200, "who is answered is kept"
            assert (await ask(port, request("/"))).status == 200
            assert len(listener.connections) <= 50


async def test_a_stop_answers_received_requests_and_closes_idle_connections() -> None:
    going = asyncio.Event()

    async def wait() -> HttpResponse:
        await going.wait()
        return HttpResponse(200, NO_STORE, b"done")

    async with (
        served(lambda _: wait()) as (port, listener),
        connect_raw(port) as busy,
        connect_raw(port) as idle,
    ):
        await busy.send(request("/"))
        await until_connected(listener, 2)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(listener.stop(deadline_s=5))
            assert await idle.ended()
            going.set()
            answer = await busy.answer()
        assert (answer.body, answer.headers["connection"]) == (b"done", "close")
        assert await busy.ended()
