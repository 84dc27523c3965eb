"""Whom to believe: the statement by which the root key names the keys that sign in its place.

A sidecar is given the root's public key, and nothing else has to be pinned: a statement with a
higher serial replaces the one before it, so keys change while everything runs.
"""

import hashlib
from dataclasses import dataclass
from enum import StrEnum

from rescind.errors import MalformedMessageError
from rescind.wire.packing import Fields, Payload, pack

KEY_BYTES = 32
KEY_ID_BYTES = 8

_STATEMENT = 1
_KEY = 1


class Purpose(StrEnum):
    """What a key signs. A signature for one purpose says nothing for another."""

    TRUST = "trust"
    EVENTS = "events"
    RECORDS = "records"
    RECEIPTS = "receipts"
    ENROLMENT = "enrolment"


def signed_bytes(purpose: Purpose, content: bytes) -> bytes:
    """Give the bytes that a signature or a MAC covers: never the content alone."""
    return b"rescind:" + purpose.encode() + b"\0" + content


def key_id(public: bytes) -> bytes:
    """Name a public key by the first 8 bytes of its SHA-256."""
    return hashlib.sha256(public).digest()[:KEY_ID_BYTES]


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """The public half of an Ed25519 key (RFC 8032), and what it is for."""

    purpose: Purpose
    public: bytes


@dataclass(frozen=True, slots=True)
class Statement:
    """The keys that are good from now on. `sealing` is the X25519 key that enrolment seals to."""

    serial: int
    issued_at_us: int
    sealing: bytes
    keys: tuple[VerifyingKey, ...]


def encode(statement: Statement) -> bytes:
    """Write a statement; it then goes into an envelope that the root key signed."""
    return pack(
        _STATEMENT,
        statement.serial,
        statement.issued_at_us,
        statement.sealing,
        [(_KEY, key.purpose, key.public) for key in statement.keys],
    )


def decode(content: Payload) -> Statement:
    """Read a statement. Keys for purposes that are newer than this code are left out."""
    fields = Fields(content, message="trust statement").expect(_STATEMENT)
    serial, issued_at_us, sealing = fields.uint(), fields.uint(), fields.octets(KEY_BYTES)
    keys = [_key(key) for key in fields.nested("verifying key")]
    return Statement(serial, issued_at_us, sealing, tuple(key for key in keys if key is not None))


def _key(fields: Fields) -> VerifyingKey | None:
    fields.expect(_KEY)
    purpose, public = fields.text(), fields.octets(KEY_BYTES)
    if purpose == Purpose.TRUST:
        raise MalformedMessageError("trust statement", "the root key names no other root key")
    return VerifyingKey(Purpose(purpose), public) if purpose in set(Purpose) else None
