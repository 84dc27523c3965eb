"""The few parts of Protocol Buffers that Envoy's messages need (protobuf.dev: Encoding).

A message that Envoy would not send is an error: a field that is cut off, a group, or a second value
where one is expected. Readers of protobuf merge or replace such values, each in its own way.
"""

from collections.abc import Mapping

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_SIZES = {_FIXED64: 8, _FIXED32: 4}
_MAX_VARINT_BYTES = 10

Fields = Mapping[int, list[bytes | int]]
"""The values of a message by field number: a number, or the bytes of any other type."""


class MalformedProtobufError(ValueError):
    """Raised for bytes that are not the expected message."""


def read(message: bytes) -> Fields:
    """Return the fields of a message. Raises MalformedProtobufError."""
    fields: dict[int, list[bytes | int]] = {}
    position, end = 0, len(message)
    while position < end:
        key, position = _read_varint(message, position)
        number, wire_type = key >> 3, key & 7
        if not number:
            raise MalformedProtobufError
        if wire_type == _VARINT:
            value, position = _read_varint(message, position)
            fields.setdefault(number, []).append(value)
            continue
        if wire_type == _BYTES:
            size, position = _read_varint(message, position)
        else:
            size = _FIXED_SIZES.get(wire_type, end + 1)  # groups are not used
        if size > end - position:
            raise MalformedProtobufError
        fields.setdefault(number, []).append(message[position : position + size])
        position += size
    return fields


def _read_varint(message: bytes, position: int) -> tuple[int, int]:
    number = shift = 0
    for byte in message[position : position + _MAX_VARINT_BYTES]:
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the bit that says whether more bytes follow
            return number, position
        shift += 7
    raise MalformedProtobufError


def many(fields: Fields, number: int) -> list[bytes]:
    """Return the values of a repeated field of bytes. Raises MalformedProtobufError."""
    values = [each for each in fields.get(number, ()) if isinstance(each, bytes)]
    if len(values) != len(fields.get(number, ())):
        raise MalformedProtobufError
    return values


def one(fields: Fields, number: int) -> bytes:
    """Return the value of a field of bytes, empty if it is absent. Raises MalformedProtobufError.

    A message is one field of bytes too.
    """
    values = many(fields, number)
    if len(values) > 1:
        raise MalformedProtobufError
    return values[0] if values else b""


def text(value: bytes) -> str:
    """Return the text of a value. Raises MalformedProtobufError."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise MalformedProtobufError from None


def write(number: int, value: bytes | int) -> bytes:
    """Return a field with a number that is not negative, or with bytes: a text, or a message."""
    if isinstance(value, int):
        return _write_varint(number << 3 | _VARINT) + _write_varint(value)
    return _write_varint(number << 3 | _BYTES) + _write_varint(len(value)) + value


def _write_varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:  # noqa: PLR2004 - seven bits to a byte
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
