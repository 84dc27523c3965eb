"""Requests at the socket with a few edits: the connection that sends them is closed, and no other.

The table does not change, another workload is answered, and each refused request is counted.
"""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.support import invalid_messages
from tests.support.messages import SAMPLES
from tests.support.sidecar import LedgerInMemory, RunningSidecar, running, wait_until

from rescind import Allowed, Verifier
from rescind.core import generation_table
from rescind.errors import MalformedMessageError
from rescind.wire.socket_protocol import (
    Frames,
    Greeting,
    Request,
    decode_request,
    decode_response,
    frame,
)

REQUESTS = [
    sample.encode(sample.message) for sample in SAMPLES if isinstance(sample.message, Request)
]
ROUNDS = settings(
    parent=settings.default,
    phases=[Phase.generate],
    suppress_health_check=[*HealthCheck],
)
pieces = st.lists(
    st.sampled_from(REQUESTS).flatmap(invalid_messages.mutated).map(frame)
    | st.sampled_from(REQUESTS).map(frame)
    | st.binary(max_size=60)
    | st.sampled_from([b"\xff\xff\xff\xff", b"\0\0\0\0", b"GET / HTTP/1.1\r\n\r\n"]),
    min_size=1,
    max_size=8,
)


@pytest.fixture
def link() -> LedgerInMemory:
    return LedgerInMemory(term_ms=60_000)


@pytest.fixture
def sidecar(tmp_path: Path, link: LedgerInMemory) -> Iterator[RunningSidecar]:
    with running(tmp_path / "search.sock", link) as sidecar:
        yield sidecar


def table(sidecar: RunningSidecar) -> bytes:
    """Read the table, but for the deadlines, which move by themselves."""
    words = memoryview(bytearray(sidecar.path.with_suffix(".table").read_bytes())).cast("Q")
    for word in generation_table.DEADLINE.values():
        words[word] = 0
    return words.tobytes()


def wrong(sent: list[bytes]) -> bool:
    """Say whether there is a message among this that cannot be read."""
    try:
        for message in Frames(longest_bytes=65_536).feed(b"".join(sent)):
            decode_request(message)
    except MalformedMessageError:
        return True
    return False


def said(path: Path, sent: list[bytes], cuts: list[int]) -> list[object]:
    """Send a stream in pieces of any length, and give every answer until it is hung up on."""
    frames, answers, stream = Frames(), list[object](), b"".join(sent)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(5)
        line.connect(str(path))
        try:
            for length in cuts:
                line.sendall(stream[:length])
                stream = stream[length:]
            line.sendall(stream)
            line.shutdown(socket.SHUT_WR)
            while received := line.recv(65_536):
                answers += [decode_response(message) for message in frames.feed(received)]
        except (BrokenPipeError, ConnectionResetError):
            return answers  # it hung up while we were speaking
    return answers


def test_an_edited_request_affects_only_its_sender(
    sidecar: RunningSidecar, link: LedgerInMemory
) -> None:
    token, tally = link.issue(), sidecar.tally
    verifier = Verifier.attach(sidecar.path, timeout_s=5)
    assert isinstance(verifier.check(token), Allowed)
    before = table(sidecar)

    @ROUNDS
    @given(pieces, st.lists(st.integers(1, 40), max_size=10))
    def send(sent: list[bytes], cuts: list[int]) -> None:
        refused = tally.messages_refused
        answers = said(sidecar.path, sent, cuts)
        if answers:
            assert isinstance(answers[0], Greeting)
        if wrong(sent):
            wait_until(lambda: tally.messages_refused == refused + 1)
        assert isinstance(verifier.check(token), Allowed)

    send()
    assert table(sidecar) == before
    assert isinstance(verifier.check(link.issue()), Allowed), "a first sight, of the socket"
    verifier.close()
