"""Reading fields: each with the type it must have."""

from collections.abc import Callable

import msgpack
import pytest

from rescind.errors import MalformedMessageError
from rescind.wire import codec
from rescind.wire.codec import Fields


def fields(*values: object) -> Fields:
    return Fields(msgpack.packb([1, *values]), message="sample")


READERS: dict[str, tuple[Callable[[Fields], object], tuple[object, ...]]] = {
    "uint": (Fields.uint, (0, 2**64 - 1)),
    "flag": (Fields.flag, (True, False)),
    "text": (Fields.text, ("", "é")),
    "octets": (Fields.octets, (b"", b"\xff")),
    "optional_uint": (Fields.optional_uint, (None, 0)),
    "optional_text": (Fields.optional_text, (None, "")),
    "optional_octets": (Fields.optional_octets, (None, b"")),
    "texts": (Fields.texts, ((), ("a", ""))),
    "chunks": (Fields.chunks, ((), (b"a", b""))),
    "uints": (Fields.uints, ((), (0, 2**64 - 1))),
    "pairs": (Fields.pairs, ((), (("a", "b"),))),
}
VALUES = (
    None,
    True,
    0,
    -1,
    1.0,
    "a",
    b"a",
    ["a"],
    [b"a"],
    [1],
    [-1],
    [True],
    [["a", "b"]],
    [["a"]],
    [["a", 1]],
)


@pytest.mark.parametrize("name", READERS)
def test_a_field_of_its_type_is_read(name: str) -> None:
    read, goods = READERS[name]
    for good in goods:
        assert read(fields(good)) == good


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_no_value_is_accepted_as_another_type(name: str, value: object) -> None:
    read, goods = READERS[name]
    try:
        taken = read(fields(value))
    except MalformedMessageError as error:
        refusal = str(error)
        assert refusal.startswith("sample: field 1")
    else:
        assert type(taken) in {type(good) for good in goods}
        assert taken == (tuple(map(_frozen, value)) if isinstance(value, list) else value)


def _frozen(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


@pytest.mark.parametrize("name", READERS)
def test_a_missing_field_is_named(name: str) -> None:
    read, _ = READERS[name]
    with pytest.raises(MalformedMessageError, match="field 1 is missing"):
        read(fields())


def test_octets_may_have_one_exact_length() -> None:
    assert fields(b"ab").octets(2) == b"ab"
    for wrong in (b"", b"a", b"abc"):
        with pytest.raises(MalformedMessageError):
            fields(wrong).octets(2)


def test_nested_messages_are_read_like_their_outer_message() -> None:
    inner, other = fields([[7, "a"], [8]]).nested("inner")
    assert (inner.tag, inner.text(), other.tag) == (7, "a", 8)
    with pytest.raises(MalformedMessageError, match="inner: field 1 is missing"):
        other.text()
    wrongs: tuple[object, ...] = ([[]], [["tag"]], [1], 1)
    for wrong in wrongs:
        with pytest.raises(MalformedMessageError):
            fields(wrong).nested("inner")


@pytest.mark.parametrize(
    "payload", [b"", b"\x90", b"\x01", b"\x80", b"\xa1a", b"\x91\xc0", b"\x91\xff"]
)
def test_a_payload_that_is_not_an_array_with_a_tag_is_malformed(payload: bytes) -> None:
    with pytest.raises(MalformedMessageError):
        Fields(payload, message="sample")


def test_a_message_has_at_most_a_mebibyte() -> None:
    largest = codec.pack(1, bytes(codec.MAX_MESSAGE_BYTES - 7))
    assert len(largest) == codec.MAX_MESSAGE_BYTES
    assert Fields(largest, message="sample").octets()
    with pytest.raises(MalformedMessageError, match="larger"):
        Fields(largest + b"\0", message="sample")


def test_the_tag_can_be_read_before_the_message() -> None:
    assert codec.tag_of(codec.pack(7, "a"), message="sample") == 7
    with pytest.raises(MalformedMessageError, match="tag 7 where 8 is expected"):
        Fields(codec.pack(7), message="sample").expect(8)
