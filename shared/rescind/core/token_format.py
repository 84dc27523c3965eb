"""The token's format: `<prefix>_<kind>_<body>`, a shape that secret scanners can find.

The body is 60 base62 characters: 54 for 40 bytes (32 random, then an 8-byte tag keyed with the
edge key), then 6 for the CRC-32 of those 54. The CRC finds typing errors; the tag lets a sidecar
drop a flood of forgeries without a look-up. Neither proves that a token is valid: only the record
under its SHA-256 does.
"""

import hashlib
import hmac
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from rescind.core import base62
from rescind.core.secret import Secret
from rescind.errors import MalformedTokenError

PREFIX = "rsc"
RANDOM_BYTES = 32
TAG_BYTES = 8
POSSESSION_BYTES = 32
HASH_BYTES = 32
REUSE_LEEWAY_US = 30_000_000
"""A rotated secret that is presented within this time after its end does not count as reuse."""

_POSSESSION = b"rescind possession"
_RADIX_WIDTH = 54
_CRC_WIDTH = 6
_PAYLOAD_BYTES = RANDOM_BYTES + TAG_BYTES


class Kind(StrEnum):
    """The kind of a token: the type of its bearer."""

    AGENT = "agent"
    SERVICE = "service"
    SESSION = "session"
    PERSONAL = "personal"
    ADMIN = "admin"


CODES = {
    Kind.AGENT: "agt",
    Kind.SERVICE: "svc",
    Kind.SESSION: "ses",
    Kind.PERSONAL: "pat",
    Kind.ADMIN: "adm",
}
_KINDS = {code: kind for kind, code in CODES.items()}
_PREFIX = re.compile(r"[a-z][a-z0-9]{1,11}")
_SHAPE = re.compile(rf"({_PREFIX.pattern})_(agt|svc|ses|pat|adm)_([0-9A-Za-z]{{60}})")
_FRAGMENT = re.compile(r"(agt|svc|ses|pat|adm)_[0-9A-Za-z]{24,}")


@dataclass(frozen=True, slots=True, repr=False)
class Token:
    """The parts of a text in the form of a token; the parts are not yet verified."""

    prefix: str
    kind: Kind
    random: bytes
    tag: bytes


@dataclass(frozen=True, slots=True)
class TokenHash:
    """The SHA-256 of a token. It names the token where the token itself must not be stored.

    It is not a secret. It is a type of its own, so that it is never accepted as a bearer token.
    Raises ValueError for another length than 32 bytes.
    """

    octets: bytes

    def __post_init__(self) -> None:
        if len(self.octets) != HASH_BYTES:
            raise ValueError(f"the hash of a token has {HASH_BYTES} bytes")


def mint(*, kind: Kind, random: bytes, edge_key: bytes, prefix: str = PREFIX) -> Secret:
    """Return a token with these 32 random bytes."""
    if len(random) != RANDOM_BYTES:
        raise ValueError(f"a token needs {RANDOM_BYTES} random bytes")
    if not _PREFIX.fullmatch(prefix):
        raise ValueError("a token's prefix is 2 to 12 small letters and digits, a letter first")
    payload = random + _compute_tag(prefix, kind, random, edge_key)
    digits = base62.encode(int.from_bytes(payload), _RADIX_WIDTH)
    return Secret(f"{prefix}_{CODES[kind]}_{digits}{checksum(digits)}")


def parse(text: str, *, prefix: str = PREFIX) -> Token:
    """Parse a token into its parts. Raises MalformedTokenError, which never quotes the text."""
    match = _SHAPE.fullmatch(text)
    if match is None or match[1] != prefix:
        raise MalformedTokenError(
            f"not a token: expected {prefix}_<agt|svc|ses|pat|adm>_ and 60 letters or digits"
        )
    digits, crc = match[3][:_RADIX_WIDTH], match[3][_RADIX_WIDTH:]
    if checksum(digits) != crc:
        raise MalformedTokenError("not a token: its checksum does not fit, a character is wrong")
    number = base62.decode(digits)
    if number.bit_length() > 8 * _PAYLOAD_BYTES:
        raise MalformedTokenError("not a token: its body is larger than 40 bytes")
    payload = number.to_bytes(_PAYLOAD_BYTES)
    return Token(prefix, _KINDS[match[2]], payload[:RANDOM_BYTES], payload[RANDOM_BYTES:])


def contained(text: str) -> bool:
    """Return True if a text contains a token or much of one: do not show or store such a text."""
    return _FRAGMENT.search(text) is not None


def hidden(text: str) -> str:
    """Return a text with its tokens masked, so that it can be shown."""
    return _FRAGMENT.sub(r"\1_<secret>", text)


def shaped(token: str | TokenHash) -> bool:
    """Return True if a text has the form of a token, so that it is worth a look-up.

    A hash always is.
    """
    return isinstance(token, TokenHash) or _SHAPE.fullmatch(token) is not None


def genuine(token: Token, edge_keys: Iterable[bytes]) -> bool:
    """Return True if one of these edge keys made this token's tag."""
    return any(
        hmac.compare_digest(token.tag, _compute_tag(token.prefix, token.kind, token.random, key))
        for key in edge_keys
    )


def digest(token: str | TokenHash) -> bytes:
    """Return the SHA-256 of the whole token, the only form in which it is stored or sent."""
    return token.octets if isinstance(token, TokenHash) else hashlib.sha256(token.encode()).digest()


def possession(text: str) -> bytes:
    """Return the proof of possession of a token: an HMAC-SHA-256 over its whole text.

    The token is the message and not the key: HMAC replaces a key of more than 64 bytes by its
    SHA-256, so the token's SHA-256, which is not secret, would give the same value.
    """
    return hmac.digest(_POSSESSION, text.encode(), "sha256")


def possession_hash(text: str) -> bytes:
    """Return the SHA-256 of `possession`, which is stored to check proofs, but is not a proof."""
    return hashlib.sha256(possession(text)).digest()


def checksum(digits: str) -> str:
    """Return the CRC-32 (zlib) of a token's digits in six base62 characters, as GitHub does."""
    return base62.encode(zlib.crc32(digits.encode()), _CRC_WIDTH)


def _compute_tag(prefix: str, kind: Kind, random: bytes, edge_key: bytes) -> bytes:
    message = prefix.encode() + CODES[kind].encode() + random
    return hmac.digest(edge_key, message, "sha256")[:TAG_BYTES]
