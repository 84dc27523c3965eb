"""Pack and unpack positional messages, and trust nothing that comes in."""

from typing import Any, Self, TypeGuard

import msgpack

from rescind.errors import MalformedMessageError

MAX_MESSAGE_BYTES = 1 << 20
_MAX_ITEMS = 4096

Payload = bytes | bytearray | memoryview


def pack(tag: int, *fields: object) -> bytes:
    """Write a message."""
    return msgpack.packb((tag, *fields))


def tag_of(payload: Payload, *, message: str) -> int:
    """Look which of several messages this is. Raises MalformedMessageError."""
    return Fields(payload, message=message).tag


class Fields:
    """Read the fields of a message one after the other, each with the type it must have.

    Raises MalformedMessageError for anything unexpected; never an error of the msgpack library.
    """

    __slots__ = ("_fields", "_message", "_next", "tag")

    def __init__(self, payload: Payload | list[Any], *, message: str) -> None:
        self._message = message
        self._fields = payload if isinstance(payload, list) else self._unpack(payload)
        self._next = 0
        self.tag = self.uint()

    def _unpack(self, payload: Payload) -> list[Any]:
        if len(payload) > MAX_MESSAGE_BYTES:
            raise self._wrong(f"larger than {MAX_MESSAGE_BYTES} bytes")
        try:
            fields = msgpack.unpackb(
                payload,
                strict_map_key=True,
                max_array_len=_MAX_ITEMS,
                max_map_len=0,
                max_ext_len=0,
            )
        except (ValueError, msgpack.exceptions.UnpackException, RecursionError) as error:
            raise self._wrong("not msgpack, or over its limits") from error
        if not _is_list(fields):
            raise self._wrong("not an array")
        return fields

    def _wrong(self, problem: str) -> MalformedMessageError:
        return MalformedMessageError(self._message, problem)

    def expect(self, tag: int) -> Self:
        """Insist on the kind of message."""
        if self.tag != tag:
            raise self._wrong(f"tag {self.tag} where {tag} is expected")
        return self

    def _take(self) -> Any:
        if self._next >= len(self._fields):
            raise self._wrong(f"field {self._next} is missing")
        value = self._fields[self._next]
        self._next += 1
        return value

    @property
    def more(self) -> bool:
        """Whether another field follows: an older sender leaves out what was appended since."""
        return self._next < len(self._fields)

    def uint(self) -> int:
        """Read a number from 0 to 2^64 - 1."""
        value = self._take()
        if type(value) is not int or value < 0:
            raise self._wrong(f"field {self._next - 1} is no unsigned number")
        return value

    def flag(self) -> bool:
        """Read true or false."""
        value = self._take()
        if type(value) is not bool:
            raise self._wrong(f"field {self._next - 1} is neither true nor false")
        return value

    def text(self) -> str:
        """Read a text."""
        value = self._take()
        if type(value) is not str:
            raise self._wrong(f"field {self._next - 1} is no text")
        return value

    def octets(self, length: int | None = None) -> bytes:
        """Read bytes, of one exact length if it is given."""
        value = self._take()
        if type(value) is not bytes or (length is not None and len(value) != length):
            raise self._wrong(f"field {self._next - 1} is not the bytes expected")
        return value

    def optional_uint(self) -> int | None:
        """Read a number, or nil."""
        return self.uint() if self._present() else None

    def optional_text(self) -> str | None:
        """Read a text, or nil."""
        return self.text() if self._present() else None

    def optional_octets(self) -> bytes | None:
        """Read bytes, or nil."""
        return self.octets() if self._present() else None

    def _present(self) -> bool:
        value = self._take()
        if value is None:
            return False
        self._next -= 1
        return True

    def texts(self) -> tuple[str, ...]:
        """Read a list of texts."""
        return tuple(self._each(str))

    def chunks(self) -> tuple[bytes, ...]:
        """Read a list of byte strings."""
        return tuple(self._each(bytes))

    def uints(self) -> tuple[int, ...]:
        """Read a list of numbers."""
        values: tuple[int, ...] = tuple(self._each(int))
        if any(value < 0 for value in values):
            raise self._wrong(f"field {self._next - 1} holds a negative number")
        return values

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Read a list of pairs of texts."""
        pairs = self._each(list)
        if any(len(pair) != 2 or not all(type(text) is str for text in pair) for pair in pairs):  # noqa: PLR2004 a pair has two
            raise self._wrong(f"field {self._next - 1} is no list of pairs")
        return tuple((pair[0], pair[1]) for pair in pairs)

    def nested(self, message: str) -> "list[Fields]":
        """Read a list of messages inside this one."""
        return [Fields(fields, message=message) for fields in self._each(list)]

    def _each(self, kind: type) -> list[Any]:
        values = self._take()
        if not _is_list(values) or any(type(value) is not kind for value in values):
            raise self._wrong(f"field {self._next - 1} is no list of {kind.__name__}")
        return values


def _is_list(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)
