"""The source of the sidecar's random values."""

import secrets

_IDENTITY_BYTES = 16
_SPREAD = 0.2
_SYSTEM = secrets.SystemRandom()  # without state that another process or thread could share


class SystemRandomSource:
    """Draw random values from the operating system."""

    def identity(self) -> bytes:
        """Return 16 random bytes."""
        return secrets.token_bytes(_IDENTITY_BYTES)

    def jitter(self) -> float:
        """Return a factor from 0.8 to 1."""
        return 1 - _SPREAD * _SYSTEM.random()
