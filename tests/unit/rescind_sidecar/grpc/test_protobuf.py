"""Bytes of Protocol Buffers: those of the specification, and those that no reader may accept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescind_sidecar.grpc import protobuf
from rescind_sidecar.grpc.protobuf import MalformedProtobufError, many, one, read, text, write


@pytest.mark.parametrize(
    ("number", "value", "encoded"),
    [
        (1, 150, "089601"),  # the first example of the specification
        (2, b"testing", "120774657374696e67"),  # its example of a text
        (3, b"\x08\x96\x01", "1a03089601"),  # and of a message in a message
        (1, 0, "0800"),
        (16, 127, "80017f"),
        (5, b"", "2a00"),
        (1, (1 << 64) - 1, "08ffffffffffffffffff01"),
    ],
)
def test_a_field_has_the_bytes_of_the_specification(
    number: int, value: bytes | int, encoded: str
) -> None:
    assert write(number, value).hex() == encoded
    assert read(bytes.fromhex(encoded)) == {number: [value]}


def test_fields_of_fixed_size_and_unknown_fields_are_read_over() -> None:
    message = bytes.fromhex("09 0102030405060708 1d 01020304 0a 01 41")
    assert read(message) == {1: [bytes(range(1, 9)), b"A"], 3: [bytes(range(1, 5))]}


@pytest.mark.parametrize(
    "encoded",
    [
        "08",  # no value
        "0896",  # a number that goes on
        "08ffffffffffffffffffff01",  # a number of eleven bytes
        "0a02",  # cut off
        "0a0241",
        "0affffffffffffffffff01",  # longer than any message
        "090102",  # eight bytes were announced
        "0b0c",  # a group
        "0e00",  # wire types that do not exist
        "0f00",
        "0200",  # field 0
        "0000",
    ],
)
def test_bytes_that_are_cut_off_or_not_a_message_are_malformed(encoded: str) -> None:
    with pytest.raises(MalformedProtobufError):
        read(bytes.fromhex(encoded))


def test_a_second_value_where_one_is_expected_is_malformed() -> None:
    assert one(read(b""), 1) == b""
    assert one(read(write(1, b"a")), 1) == b"a"
    assert many(read(write(1, b"a") + write(1, b"b")), 1) == [b"a", b"b"]
    for message in (write(1, b"a") + write(1, b"a"), write(1, 5), write(1, b"a") + write(1, 5)):
        with pytest.raises(MalformedProtobufError):
            one(read(message), 1)


def test_a_text_that_is_not_utf_8_is_malformed() -> None:
    assert text("ü".encode()) == "ü"
    with pytest.raises(MalformedProtobufError):
        text(b"\xff")


Values = st.one_of(st.integers(0, (1 << 64) - 1), st.binary(max_size=300))


@given(st.lists(st.tuples(st.integers(1, (1 << 29) - 1), Values), max_size=8))
def test_what_is_written_is_read(values: list[tuple[int, bytes | int]]) -> None:
    expected: dict[int, list[bytes | int]] = {}
    for number, value in values:
        expected.setdefault(number, []).append(value)
    assert read(b"".join(write(number, value) for number, value in values)) == expected


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_malformed(message: bytes) -> None:
    try:
        fields = read(message)
    except protobuf.MalformedProtobufError:
        return
    values = [each for values in fields.values() for each in values]
    assert sum(len(each) for each in values if isinstance(each, bytes)) <= len(message)
