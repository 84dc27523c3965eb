"""Cutting a stream into messages, however it arrives."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescind.errors import MalformedMessageError
from rescind.wire import socket_protocol
from rescind.wire.socket_protocol import Frames

messages = st.lists(st.binary(max_size=30), max_size=8)


@given(messages, st.lists(st.integers(1, 20), max_size=60))
def test_the_messages_are_the_same_however_the_stream_is_cut(
    sent: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(socket_protocol.frame(message) for message in sent)
    frames, received = Frames(), list[bytes]()
    for length in cuts:
        received += frames.feed(stream[:length])
        stream = stream[length:]
    received += frames.feed(stream)
    assert received == sent


def test_a_message_waits_for_its_last_byte() -> None:
    frames = Frames()
    stream = socket_protocol.frame(b"message")
    assert [frames.feed(stream[place : place + 1]) for place in range(len(stream) - 1)] == [[]] * 10
    assert frames.feed(stream[-1:]) == [b"message"]


def test_nothing_is_lost_or_returned_twice_when_a_result_is_ignored() -> None:
    frames = Frames()
    frames.feed(socket_protocol.frame(b"one"))
    assert frames.feed(socket_protocol.frame(b"two")) == [b"two"]


def test_an_oversized_frame_is_refused_by_its_length_alone() -> None:
    with pytest.raises(MalformedMessageError, match="longer"):
        Frames().feed((socket_protocol.MAX_FRAME_BYTES + 1).to_bytes(4))
    assert Frames().feed(socket_protocol.MAX_FRAME_BYTES.to_bytes(4)) == []
