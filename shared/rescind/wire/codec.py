"""Encoding and strict decoding of positional messages; nothing received is trusted."""

from collections.abc import Callable, Iterable
from itertools import chain, product
from operator import itemgetter
from types import UnionType
from typing import Any, Self, TypeGuard, get_args

import msgpack

from rescind.errors import MalformedMessageError

MAX_MESSAGE_BYTES = 1 << 20
MAX_ITEMS = 65_535
MAX_ORDINAL = 1 << 62
"""The limit of numbers that only grow by one: Postgres can add to one and get a bigint."""

_TEXT = frozenset({str})
_NUMBER = frozenset({int})

Payload = bytes | bytearray | memoryview


def pack(tag: int, *fields: object) -> bytes:
    """Encode a message."""
    return msgpack.packb((tag, *fields))


def tag_of(payload: Payload, *, message: str) -> int:
    """Return the tag, which identifies the type of a message. Raises MalformedMessageError."""
    return Fields(payload, message=message).tag


class Run:
    """Consecutive fields of fixed types, read as strictly as one by one, but four times as fast.

    For the messages on which a cold look-up or an event waits. `int` stands for a `uint`, and a
    union with None (`str | None`) for a field that may be nil.
    """

    __slots__ = ("length", "numbers")

    def __init__(self, *kinds: type | UnionType) -> None:
        self.length = len(kinds)
        choices = [get_args(kind) if isinstance(kind, UnionType) else (kind,) for kind in kinds]
        shapes: Iterable[tuple[type, ...]] = product(*choices)
        self.numbers = {shape: _choose_numbers(shape) for shape in shapes}
        """For each valid sequence of types, a function that returns the numbers in it."""


def _choose_numbers(shape: tuple[type, ...]) -> Callable[[list[Any]], tuple[int, ...]]:
    places = [place for place, kind in enumerate(shape) if kind is int]
    if not places:
        return lambda _: (0,)
    # A single number is read twice: for one place, itemgetter returns a value, not a tuple.
    return itemgetter(*(places * 2 if len(places) == 1 else places))


class Fields:
    """The fields of a message, read one after the other, each with its expected type.

    Raises MalformedMessageError for anything unexpected, never an error of the msgpack library.
    """

    __slots__ = ("_fields", "_message", "_next", "tag")

    def __init__(self, payload: Payload | list[Any], *, message: str) -> None:
        self._message = message
        self._fields = payload if isinstance(payload, list) else self._unpack(payload)
        self._next = 0
        self.tag = self.uint()

    def _unpack(self, payload: Payload) -> list[Any]:
        if len(payload) > MAX_MESSAGE_BYTES:
            raise self._build_error(f"larger than {MAX_MESSAGE_BYTES} bytes")
        try:
            fields = msgpack.unpackb(
                payload,
                strict_map_key=True,
                max_array_len=MAX_ITEMS,
                max_map_len=0,
                max_ext_len=0,
            )
        except (ValueError, msgpack.exceptions.UnpackException, RecursionError) as error:
            raise self._build_error("not msgpack, or over its limits") from error
        if not _is_list(fields):
            raise self._build_error("not an array")
        return fields

    def _build_error(self, problem: str) -> MalformedMessageError:
        return MalformedMessageError(self._message, problem)

    def expect(self, tag: int) -> Self:
        """Return self if the tag is the expected one. Raises MalformedMessageError."""
        if self.tag != tag:
            raise self._build_error(f"tag {self.tag} where {tag} is expected")
        return self

    def _read_value(self) -> Any:
        if self._next >= len(self._fields):
            raise self._build_error(f"field {self._next} is missing")
        value = self._fields[self._next]
        self._next += 1
        return value

    def run(self, run: Run) -> list[Any]:
        """Read several fields at once."""
        first = self._next
        end = self._next = first + run.length
        values = self._fields[first:end]
        numbers = run.numbers.get(tuple(map(type, values)))
        if numbers is None or min(numbers(values)) < 0:
            raise self._build_error(f"fields {first} to {end - 1} are not of the expected types")
        return values

    def require_numbers(self, *lists: list[Any]) -> None:
        """Check that lists from a run contain only `uint`."""
        numbers = list(chain.from_iterable(lists))
        if not _NUMBER.issuperset(map(type, numbers)) or min(numbers, default=0) < 0:
            raise self._build_error("a list of numbers holds something else")

    def require_texts(self, *lists: list[Any]) -> None:
        """Check that lists from a run contain only texts."""
        if not _TEXT.issuperset(map(type, chain.from_iterable(lists))):
            raise self._build_error("a list of texts holds something else")

    @property
    def more(self) -> bool:
        """Return True if another field follows: an older sender omits fields appended since."""
        return self._next < len(self._fields)

    def uint(self) -> int:
        """Read a number from 0 to 2^64 - 1."""
        value = self._read_value()
        if type(value) is not int or value < 0:
            raise self._build_error(f"field {self._next - 1} is not an unsigned number")
        return value

    def ordinal(self) -> int:
        """Read an epoch, a position of the ledger or a counter: a number up to `MAX_ORDINAL`."""
        value = self.uint()
        if value > MAX_ORDINAL:
            raise self._build_error(f"field {self._next - 1} is over 2^62")
        return value

    def flag(self) -> bool:
        """Read true or false."""
        value = self._read_value()
        if type(value) is not bool:
            raise self._build_error(f"field {self._next - 1} is neither true nor false")
        return value

    def optional_flag(self) -> bool:
        """Read true or false, or nil for false."""
        return self.flag() if self._is_present() else False

    def text(self) -> str:
        """Read a text."""
        value = self._read_value()
        if type(value) is not str:
            raise self._build_error(f"field {self._next - 1} is not a text")
        return value

    def octets(self, length: int | None = None) -> bytes:
        """Read bytes, of one exact length if it is given."""
        value = self._read_value()
        if type(value) is not bytes or (length is not None and len(value) != length):
            raise self._build_error(f"field {self._next - 1} is not the bytes expected")
        return value

    def optional_uint(self) -> int | None:
        """Read a number, or nil."""
        return self.uint() if self._is_present() else None

    def optional_text(self) -> str | None:
        """Read a text, or nil."""
        return self.text() if self._is_present() else None

    def optional_octets(self, length: int | None = None) -> bytes | None:
        """Read bytes, of one exact length if it is given, or nil."""
        return self.octets(length) if self._is_present() else None

    def _is_present(self) -> bool:
        value = self._read_value()
        if value is None:
            return False
        self._next -= 1
        return True

    def texts(self) -> tuple[str, ...]:
        """Read a list of texts."""
        return tuple(self._read_list(str))

    def chunks(self) -> tuple[bytes, ...]:
        """Read a list of byte strings."""
        return tuple(self._read_list(bytes))

    def optional_chunks(self) -> tuple[bytes, ...]:
        """Read a list of byte strings; nil reads as an empty list."""
        return self.chunks() if self._is_present() else ()

    def chunks_or_nil(self) -> tuple[bytes, ...] | None:
        """Read a list of byte strings, or nil, which differs from an empty list."""
        return self.chunks() if self._is_present() else None

    def uints(self) -> tuple[int, ...]:
        """Read a list of numbers."""
        values: tuple[int, ...] = tuple(self._read_list(int))
        if values and min(values) < 0:
            raise self._build_error(f"field {self._next - 1} holds a negative number")
        return values

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Read a list of pairs of texts."""
        return self.pairs_of(self._read_list(list))

    def optional_pairs(self) -> tuple[tuple[str, str], ...]:
        """Read a list of pairs of texts; nil reads as an empty list."""
        return self.pairs() if self._is_present() else ()

    def pairs_of(self, pairs: list[Any]) -> tuple[tuple[str, str], ...]:
        """Check that a list from a run contains pairs of texts, and return them."""
        if any(tuple(map(type, pair)) != (str, str) for pair in self._require_lists(pairs)):
            raise self._build_error(f"field {self._next - 1} is not a list of pairs")
        return tuple((pair[0], pair[1]) for pair in pairs)

    def nested(self, message: str) -> "list[Fields]":
        """Read a list of messages inside this one."""
        return self.messages(self._read_list(list), message)

    def optional_nested(self, message: str) -> "list[Fields]":
        """Read a list of messages inside this one; nil reads as an empty list."""
        return self.nested(message) if self._is_present() else []

    def messages(self, messages: list[Any], message: str) -> "list[Fields]":
        """Check that a list from a run contains messages, and return them."""
        return [Fields(fields, message=message) for fields in self._require_lists(messages)]

    def _require_lists(self, values: list[Any]) -> list[Any]:
        if any(type(value) is not list for value in values):
            raise self._build_error(f"field {self._next - 1} is not a list of lists")
        return values

    def _read_list(self, kind: type) -> list[Any]:
        values = self._read_value()
        if not _is_list(values) or not {kind}.issuperset(map(type, values)):
            raise self._build_error(f"field {self._next - 1} is not a list of {kind.__name__}")
        return values


def _is_list(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)
