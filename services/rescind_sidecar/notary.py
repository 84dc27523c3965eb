"""Check what the authority signed, and seal what only it may read (ports Notary, InstanceKeys)."""

import structlog

from rescind.wire.sealed import Sealed
from rescind.wire.trust import Purpose
from rescind_runtime.signing import InstanceKey, KeyringError, Trust

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


class TrustNotary:
    """Believe what the trust file's root key leads to."""

    def __init__(self, trust: Trust) -> None:
        self._trust = trust

    @property
    def serial(self) -> int:
        """The number of the trust statement that we have."""
        return self._trust.serial

    def verify(self, purpose: Purpose, signed: Sealed) -> bool:
        """Say whether a key that is good for this purpose signed this content."""
        return self._trust.verify(purpose, signed)

    def knows(self, purpose: Purpose, signed: Sealed) -> bool:
        """Say whether the key is in the statement that we have."""
        return self._trust.knows(purpose, signed)

    def accept(self, statement: bytes) -> None:
        """Take a newer trust statement; one that the root did not sign changes nothing."""
        try:
            if self._trust.accept(statement):
                _log.info("the keys changed", action="trust.renewed", serial=self._trust.serial)
        except KeyringError as error:
            _log.warning("refused a trust statement", action="trust.refused", why=str(error))

    def seal(self, content: bytes) -> bytes:
        """Put content into a box that only the authority can open."""
        return self._trust.seal(content)


class FreshKeys:
    """Make the key pair of each instance."""

    def fresh(self) -> InstanceKey:
        """Make one that nobody has seen."""
        return InstanceKey()
