"""What follows a body in chunks is no header (RFC 9110, section 6.5.1), and bounded like a head."""

import asyncio
import json

import pytest
from tests.support.http_exchange import RawConnection, ask, bearer, connect_raw, request, served

from rescind.testing import FakeVerifier
from rescind_sidecar.http.http1_connection import Pending
from rescind_sidecar.http.messages import NO_STORE, HttpRequest, HttpResponse

CHUNKED = "Transfer-Encoding: chunked"
MEGABYTE = 1 << 20


def chunked(target: str, *headers: str, body: bytes = b"", trailers: str = "") -> bytes:
    """Write a request with a body in chunks, and trailers after it."""
    head = request(target, CHUNKED, *headers, method="POST")
    chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
    return head + chunk + b"0\r\n" + trailers.encode() + b"\r\n"


@pytest.mark.parametrize("body", [b"", b"x=1"])
@pytest.mark.parametrize("declared", [(), ("Trailer: Authorization", "TE: trailers")])
async def test_a_token_in_a_trailer_does_not_count(
    port: int, verifier: FakeVerifier, body: bytes, declared: tuple[str, ...]
) -> None:
    trailers = f"{bearer(verifier.issue().token)}\r\n"
    sent = chunked("/verify", *declared, body=body, trailers=trailers)
    answer = await ask(port, sent)
    assert (answer.status, answer.headers["x-rescind-reason"]) == (401, "missing")


async def test_a_second_token_in_a_trailer_does_not_spoil_the_first(
    port: int, verifier: FakeVerifier
) -> None:
    good, other = verifier.issue(subject="agent:a"), verifier.issue(subject="agent:b")
    sent = chunked("/verify", bearer(good.token), trailers=f"{bearer(other.token)}\r\n")
    answer = await ask(port, sent)
    assert (answer.status, answer.headers["x-rescind-subject"]) == (200, "agent:a")


async def test_the_caller_s_address_is_not_read_out_of_a_trailer(
    port: int, verifier: FakeVerifier
) -> None:
    tied = verifier.issue(addresses=["10.0.0.0/8"])
    for headers in (["X-Real-IP: 192.0.2.1"], []):
        sent = chunked("/verify", bearer(tied.token), *headers, trailers="X-Real-IP: 10.9.1.1\r\n")
        answer = await ask(port, sent)
        assert (answer.status, answer.headers["x-rescind-reason"]) == (401, "wrong_address")


async def test_a_queued_request_gets_no_headers_from_its_trailers() -> None:
    turn, seen = asyncio.Event(), list[HttpRequest]()

    async def wait() -> HttpResponse:
        await turn.wait()
        return HttpResponse(200, NO_STORE)

    def application(asked: HttpRequest) -> HttpResponse | Pending:
        seen.append(asked)
        return wait() if asked.path == "/slow" else HttpResponse(200, NO_STORE)

    async with served(application) as (port, _), connect_raw(port) as line:
        await line.send(request("/slow"), chunked("/next", trailers="X-Late: 1\r\n"))
        await line.send(request("/last"))
        turn.set()
        assert [(await line.answer()).status for _ in range(3)] == [200, 200, 200]
    assert [name for each in seen for name, _ in each.headers].count(b"X-Late") == 0
    assert [each.path for each in seen] == ["/slow", "/next", "/last"]


async def test_a_body_with_trailers_is_read_and_the_connection_goes_on(
    port: int, verifier: FakeVerifier
) -> None:
    body = json.dumps({"token": verifier.issue().token}).encode()
    trailers = "X-Checksum: 7\r\nExpect: 100-continue\r\n"
    async with connect_raw(port) as line:
        for _ in range(2):
            answer = await line.ask(chunked("/v1/check", body=body, trailers=trailers))
            assert json.loads(answer.body)["active"] is True


@pytest.mark.parametrize("trailer", ["Content-Length: 7", "Transfer-Encoding: chunked"])
async def test_no_trailer_decides_where_the_next_request_begins(
    port: int, verifier: FakeVerifier, trailer: str
) -> None:
    smuggled = request("/verify", bearer(verifier.issue().token))
    sent = chunked("/v1/check", body=b"{}", trailers=f"{trailer}\r\n")
    async with connect_raw(port) as line:
        await line.send(sent + smuggled)
        assert (await line.answer()).status == 400
        assert await line.ended()


@pytest.mark.parametrize(
    ("beginning", "more"),
    [
        (b"0\r\n", b"x: y\r\n"),
        (b"0\r\nx: ", b"y"),
        (b"0\r\n", b"x"),
        (b"1\r\na\r\n0\r\n", b"x: yyyyyyyyyyyy\r\n"),
        (b"1;", b"extension"),
    ],
    ids=["many", "one long text", "one long name", "after a chunk", "an extension of a chunk"],
)
async def test_endless_trailers_are_cut_off_and_not_kept(
    port: int, beginning: bytes, more: bytes
) -> None:
    async with connect_raw(port) as line:
        await line.send(request("/v1/check", CHUNKED, method="POST"), beginning)
        sending = asyncio.create_task(endlessly(line, more))
        answer = await line.answer()
        sending.cancel()
    assert answer.status == 431
    assert answer.headers["connection"] == "close"


async def endlessly(line: RawConnection, more: bytes) -> None:
    part = more * (16_384 // len(more))
    for _ in range(MEGABYTE // len(part)):
        await line.send(part)
        await asyncio.sleep(0)


@pytest.mark.parametrize("size", [1, 7, 4_096])
async def test_a_body_may_come_in_any_number_of_chunks(port: int, size: int) -> None:
    body = b'{"token": "x", "require": [' + b'"aaaa",' * 200 + b'"b"]}'
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    async with connect_raw(port) as line:
        await line.send(request("/v1/check", CHUNKED, method="POST"))
        await line.send(*(b"%x\r\n%b\r\n" % (len(part), part) for part in parts))
        assert json.loads((await line.ask(b"0\r\n\r\n")).body)["reason"] == "malformed"
