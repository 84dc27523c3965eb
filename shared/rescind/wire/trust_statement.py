"""The trust statement, by which the root key names the keys that sign in its place.

Only the root's public key is pinned in a sidecar. A statement with a higher serial replaces the
earlier one, so keys can change at run time. A statement ends at `not_after_us`, and is renewed
before. When the root key itself is replaced, the earlier key signs a link to the new one. From then
on, the envelope of each statement contains this link.
"""

import hashlib
from dataclasses import dataclass
from enum import StrEnum

from rescind.errors import MalformedMessageError
from rescind.wire import signed_envelope
from rescind.wire.codec import Fields, Payload, pack
from rescind.wire.signed_envelope import SignedEnvelope

KEY_BYTES = 32
KEY_ID_BYTES = 8
MAX_LINKS = 64
MAX_RETIRED = 64

_ENVELOPE = 1
_ENVELOPE_FIELDS = 3
_STATEMENT = 1
_LINK = 2
_KEY = 1
_RETIRED = 1


class Purpose(StrEnum):
    """The purpose of a key. A signature for one purpose is not valid for another."""

    TRUST = "trust"
    EVENTS = "events"
    RECORDS = "records"
    RECEIPTS = "receipts"
    ENROLMENT = "enrolment"


def signed_bytes(purpose: Purpose, content: bytes) -> bytes:
    """Return the bytes that a signature or a MAC covers: never the content alone."""
    return b"rescind:" + purpose.encode() + b"\0" + content


def key_id(public: bytes) -> bytes:
    """Return the id of a public key: the first 8 bytes of its SHA-256."""
    return hashlib.sha256(public).digest()[:KEY_ID_BYTES]


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """The public half of an Ed25519 key (RFC 8032), and its purpose."""

    purpose: Purpose
    public: bytes


@dataclass(frozen=True, slots=True)
class RetiredKey:
    """A key that is no longer trusted: kind (a purpose, `master`, `sealing`) and id."""

    kind: str
    key_id: bytes


@dataclass(frozen=True, slots=True)
class Statement:
    """The keys that are valid from now on. Enrolments are encrypted to the X25519 key `sealing`.

    `not_after_us` (Unix microseconds) is None in a statement without an end, from an older
    authority. `retired` are the keys that were withdrawn before their time, oldest first.
    """

    serial: int
    issued_at_us: int
    sealing: bytes
    keys: tuple[VerifyingKey, ...]
    not_after_us: int | None = None
    retired: tuple[RetiredKey, ...] = ()


@dataclass(frozen=True, slots=True)
class RootLink:
    """The new root key, which replaces the key that signed this link."""

    root: bytes
    issued_at_us: int


def encode(statement: Statement) -> bytes:
    """Encode a statement; it then goes into an envelope that the root key signs."""
    return pack(
        _STATEMENT,
        statement.serial,
        statement.issued_at_us,
        statement.sealing,
        [(_KEY, key.purpose, key.public) for key in statement.keys],
        *_collect_optional(statement),
    )


def _collect_optional(statement: Statement) -> tuple[object, ...]:
    if statement.not_after_us is None and not statement.retired:
        return ()
    retired = [(_RETIRED, each.kind, each.key_id) for each in statement.retired]
    return (statement.not_after_us, retired)


def decode(content: Payload) -> Statement:
    """Decode a statement. Keys for purposes that are newer than this code are left out."""
    fields = Fields(content, message="trust statement").expect(_STATEMENT)
    serial, issued_at_us, sealing = fields.ordinal(), fields.uint(), fields.octets(KEY_BYTES)
    keys = [_decode_key(key) for key in fields.nested("verifying key")]
    return Statement(
        serial,
        issued_at_us,
        sealing,
        tuple(key for key in keys if key is not None),
        fields.optional_uint() if fields.more else None,
        tuple(map(_decode_retired, fields.optional_nested("retired key"))) if fields.more else (),
    )


def encode_link(link: RootLink) -> bytes:
    """Encode a link; it then goes into an envelope that the earlier root key signs."""
    return pack(_LINK, link.root, link.issued_at_us)


def decode_link(content: Payload) -> RootLink:
    """Decode a link. Raises MalformedMessageError."""
    fields = Fields(content, message="link between root keys").expect(_LINK)
    return RootLink(fields.octets(KEY_BYTES), fields.uint())


def encode_envelope(signed: SignedEnvelope, links: tuple[bytes, ...]) -> bytes:
    """Encode a signed statement with the links between root keys, each in its own envelope.

    A reader that does not support links ignores them, as it ignores every appended field.
    """
    optional = (links,) if links else ()
    return pack(_ENVELOPE, signed.key_id, signed.signature, signed.content, *optional)


def decode_envelope(payload: Payload) -> tuple[SignedEnvelope, tuple[bytes, ...]]:
    """Decode a signed statement and its links. Raises MalformedMessageError."""
    signed = signed_envelope.decode(payload)
    fields = Fields(payload, message="trust statement").expect(_ENVELOPE)
    for _ in range(_ENVELOPE_FIELDS):
        fields.octets()
    links = fields.optional_chunks() if fields.more else ()
    if len(links) > MAX_LINKS:
        raise MalformedMessageError("trust statement", f"more than {MAX_LINKS} links")
    return signed, links


def _decode_retired(fields: Fields) -> RetiredKey:
    fields.expect(_RETIRED)
    return RetiredKey(fields.text(), fields.octets(KEY_ID_BYTES))


def _decode_key(fields: Fields) -> VerifyingKey | None:
    fields.expect(_KEY)
    purpose, public = fields.text(), fields.octets(KEY_BYTES)
    if purpose == Purpose.TRUST:
        raise MalformedMessageError("trust statement", "the root key names no other root key")
    return VerifyingKey(Purpose(purpose), public) if purpose in set(Purpose) else None
