"""The secret of an instance, and the MAC that it puts on what it says (design 7).

Microseconds, where a signature takes a hundred of them: every heartbeat of a fleet carries one.
"""

import hmac

MAC_BYTES = 32


def instance_secret(master: bytes, *, epoch: int, instance: bytes) -> bytes:
    """Derive an instance's secret: every authority can, and none has to store it."""
    return hmac.digest(master, b"instance\0" + epoch.to_bytes(8) + instance, "sha256")


def tag(secret: bytes, direction: bytes, content: bytes) -> bytes:
    """Return the HMAC-SHA-256 of a message. The direction prevents reflection to its sender."""
    return hmac.digest(secret, direction + b"\0" + content, "sha256")


def genuine(secret: bytes, direction: bytes, content: bytes, claimed: bytes) -> bool:
    """Return True if a MAC is right; compare in constant time."""
    return hmac.compare_digest(tag(secret, direction, content), claimed)


def veil(secret: bytes, nonce: bytes, value: bytes) -> bytes:
    """Encrypt 32 bytes for the holders of the secret, or decrypt them: both are one XOR.

    The pad is a MAC with a direction of its own, so a nonce may serve for one value only. It does
    not protect the value from changes: the MAC of the message around it does.
    """
    pad = tag(secret, _VEIL, nonce)
    return bytes(one ^ other for one, other in zip(pad, value, strict=True))


TO_AUTHORITY = b"to authority"
TO_SIDECAR = b"to sidecar"
_VEIL = b"veil"
