"""Public ids: a prefix and 26 characters of Crockford base32, sortable by time."""

import re

ENTROPY_BYTES = 10
_TIME_BITS = 48
LATEST_MS = (1 << _TIME_BITS) - 1
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_SHAPE = re.compile(r"[a-z]+_[0-7][0-9a-hjkmnp-tv-z]{25}")


def make(prefix: str, *, now_ms: int, entropy: bytes) -> str:
    """Return an id made of a time (48 bits, Unix milliseconds) and 80 random bits, as a ULID."""
    if len(entropy) != ENTROPY_BYTES or not 0 <= now_ms <= LATEST_MS:
        raise ValueError(f"an id needs {ENTROPY_BYTES} random bytes and {_TIME_BITS} bits of time")
    number = now_ms << 80 | int.from_bytes(entropy)
    digits = [_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5)]
    return f"{prefix}_{''.join(digits)}"


def is_id(text: str, prefix: str) -> bool:
    """Return True if a text has the form of an id with this prefix."""
    return text.startswith(f"{prefix}_") and _SHAPE.fullmatch(text) is not None
