"""The secret of an instance, and the MAC that it puts on what it says (design 7).

Microseconds, where a signature takes a hundred of them: every heartbeat of a fleet carries one.
"""

import hmac

MAC_BYTES = 32


def instance_secret(master: bytes, *, epoch: int, instance: bytes) -> bytes:
    """Derive an instance's secret: every authority can, and none has to store it."""
    return hmac.digest(master, b"instance\0" + epoch.to_bytes(8) + instance, "sha256")


def tag(secret: bytes, direction: bytes, content: bytes) -> bytes:
    """Give the HMAC-SHA-256 of a message; the direction keeps a message from being sent back."""
    return hmac.digest(secret, direction + b"\0" + content, "sha256")


def genuine(secret: bytes, direction: bytes, content: bytes, claimed: bytes) -> bool:
    """Say whether a MAC is right, in constant time."""
    return hmac.compare_digest(tag(secret, direction, content), claimed)


TO_AUTHORITY = b"to authority"
TO_SIDECAR = b"to sidecar"
