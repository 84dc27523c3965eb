"""Invalid messages, made from valid ones as a broken peer or an attacker would."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import msgpack
from hypothesis import strategies as st

WRONG: tuple[object, ...] = (
    None,
    True,
    -1,
    0,
    1.5,
    "text",
    "a long text, " * 100,
    b"octets",
    [],
    {},
    [[]],
    [None],
    [-1],
    ["a", 1],
    2**64 - 1,
)
"""A value of each type of msgpack, and lists with wrong elements."""

GIANTS = {
    "array32 of 2^32 - 1": b"\xdd\xff\xff\xff\xff",
    "map32 of 2^32 - 1": b"\xdf\xff\xff\xff\xff",
    "str32 of 2^32 - 1": b"\x91\xdb\xff\xff\xff\xff",
    "bin32 of 2^32 - 1": b"\x91\xc6\xff\xff\xff\xff",
    "ext32 of 2^32 - 1": b"\x91\xc9\xff\xff\xff\xff\x01",
    "timestamp": b"\x91\xd6\xff\0\0\0\0",
    "empty timestamp": b"\x91\xc7\0\xff",
    "reserved byte": b"\xc1",
    "one more than the items allowed": b"\xdd\x00\x01\x00\x00" + b"\x01" * 65_536,
    "a text that is not UTF-8": b"\x92\x01\xa2\xff\xfe",
    "two messages": b"\x92\x01\x01\x92\x01\x01",
    "deep arrays": b"\x91" * 100_000 + b"\x01",
    "deep arrays, wide": b"\xdc\x10\x00" * 300_000,
    "deep maps": b"\x81\x01" * 100_000 + b"\x01",
    "a mebibyte and one byte": b"\xc6\0\x10\0\0" + bytes(2**20 + 1),
    "a mebibyte of numbers": b"\xdc\x10\x00" + b"\xdc\x00\xfb" * 1 + b"\x01" * (2**20 - 8),
    "nothing": b"",
}


def garbled(payload: bytes) -> Iterator[bytes]:
    """Yield the message with each of its fields replaced by each wrong value, at every depth."""
    for fields in _garbled(msgpack.unpackb(payload)):
        yield msgpack.packb(fields)


def _garbled(fields: list[object]) -> Iterator[list[object]]:
    for place, field in enumerate(fields):
        before, after = fields[:place], fields[place + 1 :]
        for wrong in WRONG:
            yield [*before, wrong, *after]
        if isinstance(field, list):
            yield from ([*before, inner, *after] for inner in _garbled(field))
        if isinstance(field, bytes) and field[:1] > b"\x8f":  # an envelope's content
            yield from ([*before, inner, *after] for inner in garbled(field))


EXTREMES: tuple[object, ...] = (
    *WRONG,
    2**63,
    2**63 - 1,
    -(2**63),
    float("nan"),
    float("-inf"),
    "\0",
    "e\u0301\u202e" * 200,
    "'; DROP TABLE leases; --",
    bytes(16),
    bytes(32),
    b"\xc1" * 5_000,
    [0] * 500,
    [["", ""]] * 40,
    msgpack.ExtType(7, b"x"),
    msgpack.Timestamp(0),
)
"""Values at the limits of their ranges, and slightly beyond."""


@st.composite
def mutated(draw: st.DrawFn, payload: bytes) -> bytes:
    """Return a valid message with a few edits in its fields, and sometimes in its bytes."""
    fields: list[Any] = msgpack.unpackb(payload)
    for _ in range(draw(st.integers(1, 4))):
        _edit(draw, fields)
    packed = bytearray(msgpack.packb(fields))
    if draw(st.integers(0, 3)) == 0:
        place = draw(st.integers(0, len(packed) - 1))
        packed[place : place + draw(st.integers(0, 2))] = draw(st.binary(max_size=3))
    return bytes(packed)


def _edit(draw: st.DrawFn, fields: list[Any]) -> None:
    place = draw(st.integers(0, max(0, len(fields) - 1)))
    chosen = fields[place] if fields else None
    if isinstance(chosen, list) and draw(st.booleans()):
        _edit(draw, chosen)
        return
    match draw(st.sampled_from(("replace", "delete", "repeat", "swap", "wrap", "longer", "near"))):
        case "delete":
            del fields[place : place + 1]
        case "repeat":
            fields[place:place] = [chosen] * draw(st.sampled_from((1, 2, 300)))
        case "swap":
            fields.reverse()
        case "wrap":
            for _ in range(draw(st.sampled_from((1, 2, 100)))):
                chosen = [chosen]
            fields[place : place + 1] = [chosen]
        case "longer" if isinstance(chosen, str | bytes | list):
            fields[place] = chosen * draw(st.sampled_from((2, 300)))
        case "near" if type(chosen) is int:
            fields[place] = min(2**64 - 1, max(-(2**63), chosen + draw(st.sampled_from((-1, 1)))))
        case _:
            fields[place : place + 1] = [deepcopy(draw(st.sampled_from(EXTREMES)))]
