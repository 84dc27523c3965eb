"""Keys and randomness."""

from typing import Protocol

from rescind.wire.signed_envelope import SignedEnvelope
from rescind.wire.trust_statement import Purpose


class Keys(Protocol):
    """Sign, encrypt and decrypt with this installation's keys."""

    @property
    def statement(self) -> bytes:
        """Return the trust statement, signed by the root key."""
        ...

    @property
    def serial(self) -> int:
        """Return the number of the statement; it only grows."""
        ...

    @property
    def masters(self) -> tuple[bytes, ...]:
        """Return the keys from which instance secrets derive; the first one is in use."""
        ...

    @property
    def rows(self) -> tuple[bytes, ...]:
        """Return the keys that authenticate rows in Postgres; the first one is in use."""
        ...

    def sign(self, purpose: Purpose, content: bytes) -> SignedEnvelope:
        """Sign content for one purpose."""
        ...

    def verify(self, purpose: Purpose, signed: SignedEnvelope) -> bool:
        """Return True if one of this installation's keys signed this content."""
        ...

    def open(self, box: bytes) -> bytes | None:
        """Decrypt a box that was encrypted for this installation; None if that fails."""
        ...

    def encrypt_for(self, public: bytes, content: bytes) -> bytes:
        """Encrypt content for a peer's public key."""
        ...


class EdgeKeys(Protocol):
    """The keys that tag tokens."""

    @property
    def accepted(self) -> tuple[bytes, ...]:
        """Return the keys whose tags are accepted, newest first."""
        ...

    @property
    def minting(self) -> bytes:
        """Return the key that tags new tokens."""
        ...


class Entropy(Protocol):
    """Return random bytes."""

    def __call__(self, length: int, /) -> bytes:
        """Return random bytes fit for a secret."""
        ...
