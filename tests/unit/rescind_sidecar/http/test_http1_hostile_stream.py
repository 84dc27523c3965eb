"""HTTP as bytes: it is answered the same however it is cut, and junk ends its connection alone.

The parser and the connection run without a network, on a transport that writes down what is done.
"""

import asyncio
from dataclasses import dataclass, field
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.http_exchange import request

from rescind_sidecar.http.http1_connection import HttpConnection, Listener
from rescind_sidecar.http.messages import NO_STORE, HttpRequest, HttpResponse

MAX_WRITTEN = 200_000
REQUESTS = [
    request("/verify"),
    request("/verify/a?require=x&min_seq=7", "Authorization: Bearer x"),
    request("/v1/check", method="POST", body=b'{"token": "x"}'),
    request("http://somewhere/verify?a=b"),
    request("/verify", method="HEAD"),
    request("/v1/check", "Expect: 100-continue", method="POST", body=b"{}"),
]
UNWANTED = request("/verify", "Transfer-Encoding: chunked", method="POST") + (
    b"3\r\nabc\r\n0\r\n\r\n"
)
"""A request with an unread body. If the body comes after the reply, the connection is closed."""
JUNK = {
    "a NUL in a name": b"GET /verify HTTP/1.1\r\nA\0: b\r\n\r\n",
    "two lengths": b"POST /v1/check HTTP/1.1\r\nContent-Length: 1\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "an endless length": b"POST /v1/check HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
    "an endless chunk": b"POST /v1/check HTTP/1.1\r\n"
    b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
    "a long path": b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
    "a long header": b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
    "an endless head": b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000,
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}
good = st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=6)
cuts = st.lists(st.integers(1, 60), max_size=40)


@dataclass
class Wire:
    """The transport of a connection."""

    written: bytearray = field(default_factory=bytearray)
    over: bool = False

    def get_extra_info(self, name: str) -> tuple[str, int]:
        assert name == "peername"
        return "192.0.2.1", 1234

    def write(self, sent: bytes) -> None:
        assert not self.over, "nothing is said after the end"
        self.written += sent

    def write_eof(self) -> None:
        self.over = True

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        self.over = True

    abort = close

    def is_closing(self) -> bool:
        return self.over

    def pause_reading(self) -> None:
        """Go on: nothing more comes than there is."""

    resume_reading = pause_reading


def answered(stream: bytes, lengths: list[int]) -> tuple[bytes, bool, list[HttpRequest]]:
    """Feed a stream in pieces; give what was said, whether it is over, and what was asked."""
    asked: list[HttpRequest] = []

    def application(heard: HttpRequest) -> HttpResponse:
        asked.append(heard)
        return HttpResponse(200, NO_STORE, heard.path.encode("latin-1", "replace"))

    listener = Listener(application, cast("asyncio.TaskGroup", None), with_body={"/v1/check"})
    connection, wire = HttpConnection(listener), Wire()
    connection.connection_made(cast("asyncio.Transport", wire))
    for length in [*lengths, len(stream)]:
        piece, stream = stream[:length], stream[length:]
        if piece:
            connection.data_received(piece)
    connection.eof_received()
    connection.connection_lost(None)
    assert not listener.connections
    return bytes(wire.written), wire.over, asked


def statuses(written: bytes) -> list[int]:
    return [int(line[:3]) for line in written.split(b"HTTP/1.1 ")[1:]]


@given(sent=good, lengths=cuts)
def test_good_requests_are_answered_the_same_however_they_are_cut(
    sent: list[bytes], lengths: list[int]
) -> None:
    _, _, whole = answered(b"".join(sent), [])
    written, _, cut = answered(b"".join(sent), lengths)
    assert [each.path for each in whole] == [each.path for each in cut]
    assert [each.body for each in whole] == [each.body for each in cut]
    assert statuses(written).count(200) == len(sent)


@given(sent=good, lengths=cuts)
def test_after_an_unread_body_all_requests_are_answered_or_the_connection_ends(
    sent: list[bytes], lengths: list[int]
) -> None:
    _, over, asked = answered(b"".join([UNWANTED, *sent]), lengths)
    assert [each.path for each in asked][:1] == ["/verify"]
    assert len(asked) == 1 + len(sent) or (len(asked) == 1 and over)


@given(sent=good, junk=st.sampled_from(sorted(JUNK)), lengths=cuts)
def test_junk_is_refused_once_after_earlier_requests_are_answered(
    sent: list[bytes], junk: str, lengths: list[int]
) -> None:
    written, over, asked = answered(b"".join([*sent, JUNK[junk], *sent]), lengths)
    seen = [status for status in statuses(written) if status != 100]
    assert seen[: len(sent)] == [200] * len(sent)
    assert over
    assert len(asked) <= len(sent) + 1, "nothing after junk is believed to be a request"
    assert len(seen) <= len(sent) + 1
    assert len(written) < MAX_WRITTEN


@pytest.mark.parametrize("pieces", [[], [40_000], [40_000, 20_000]])
@pytest.mark.parametrize("junk", ["a long path", "a long header", "many headers"])
@pytest.mark.parametrize("before", [0, 1])
def test_a_head_beyond_the_limit_is_refused_in_one_piece_or_several(
    junk: str, pieces: list[int], before: int
) -> None:
    good = b"GET /verify HTTP/1.1\r\nHost: sidecar\r\n\r\n"
    stream = good * before + JUNK[junk] + good
    written, over, asked = answered(stream, pieces)
    assert statuses(written) == [*([200] * before), 431]
    assert over
    assert len(asked) == before


@given(data=st.data(), lengths=cuts)
def test_any_bytes_are_answered_in_bounds(data: st.DataObject, lengths: list[int]) -> None:
    sent = data.draw(good)
    stream = bytearray(b"".join(sent))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(stream)))
        stream[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=6))
    written, _, asked = answered(bytes(stream), lengths)
    assert len(asked) <= 2 * len(sent) + 4
    assert len(written) < MAX_WRITTEN
    assert all(status in {100, 200, 400, 408, 413, 431} for status in statuses(written))


@pytest.mark.parametrize("sent", [*REQUESTS, UNWANTED])
def test_a_request_cut_at_any_place_is_answered_as_a_whole_one(sent: bytes) -> None:
    whole = answered(sent, [])
    for place in range(1, len(sent)):
        cut = answered(sent, [place])
        assert (statuses(cut[0])[-1:], cut[2]) == (statuses(whole[0])[-1:], whole[2])
