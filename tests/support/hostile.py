"""Make wrong messages out of right ones, as a broken peer or an attacker would."""

from collections.abc import Iterator

import msgpack

WRONG: tuple[object, ...] = (
    None,
    True,
    -1,
    0,
    1.5,
    "text",
    b"octets",
    [],
    {},
    [[]],
    [None],
    [-1],
    ["a", 1],
    2**64 - 1,
)
"""A value of each type that msgpack has, and lists that hold the wrong thing."""

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
    "a text that is no UTF-8": b"\x92\x01\xa2\xff\xfe",
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
