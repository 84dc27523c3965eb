"""The sidecar's randomness."""

import random
import secrets

_IDENTITY_BYTES = 16
_SPREAD = 0.2


class SystemDice:
    """Draw from the system."""

    def identity(self) -> bytes:
        """Give 16 bytes that nobody has seen before."""
        return secrets.token_bytes(_IDENTITY_BYTES)

    def jitter(self) -> float:
        """Give a factor from 0.8 to 1."""
        return 1 - _SPREAD * random.random()  # noqa: S311 it spreads load, it hides nothing
