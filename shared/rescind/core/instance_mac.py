"""The secret of an instance, and the MAC of its messages (design 7).

A MAC takes microseconds, and a signature a hundred times as long. Every heartbeat of a fleet has a
MAC.
"""

import hmac

MAC_BYTES = 32


def instance_secret(master: bytes, *, epoch: int, instance: bytes) -> bytes:
    """Derive an instance's secret. Every authority can derive it, so none has to store it."""
    return hmac.digest(master, b"instance\0" + epoch.to_bytes(8) + instance, "sha256")


def tag(secret: bytes, direction: bytes, content: bytes) -> bytes:
    """Return the HMAC-SHA-256 of a message. The direction prevents reflection to its sender."""
    return hmac.digest(secret, direction + b"\0" + content, "sha256")


def genuine(secret: bytes, direction: bytes, content: bytes, claimed: bytes) -> bool:
    """Return True if a MAC is correct. Compares in constant time."""
    return hmac.compare_digest(tag(secret, direction, content), claimed)


def mask(secret: bytes, nonce: bytes, value: bytes) -> bytes:
    """Encrypt 32 bytes with the secret, or decrypt them: both are one XOR with a pad.

    The pad is a MAC with a direction of its own, so a nonce may be used for one value only. The pad
    does not protect the value from changes: the MAC of the enclosing message does.
    """
    pad = tag(secret, _MASK, nonce)
    return bytes(one ^ other for one, other in zip(pad, value, strict=True))


TO_AUTHORITY = b"to authority"
TO_SIDECAR = b"to sidecar"
_MASK = b"veil"
