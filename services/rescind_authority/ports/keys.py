"""Keys and randomness."""

from typing import Protocol

from rescind.wire.signed_envelope import SignedEnvelope
from rescind.wire.trust_statement import Purpose


class Keys(Protocol):
    """Sign, encrypt and decrypt with this installation's keys."""

    @property
    def statement(self) -> bytes:
        """The trust statement, signed by the root key."""
        ...

    @property
    def serial(self) -> int:
        """The number of the statement; it only grows."""
        ...

    @property
    def masters(self) -> tuple[bytes, ...]:
        """The keys that secrets of instances derive from: first the one that is in use now."""
        ...

    @property
    def rows(self) -> tuple[bytes, ...]:
        """The keys that authenticate rows in Postgres: first the one that is in use now."""
        ...

    def sign(self, purpose: Purpose, content: bytes) -> SignedEnvelope:
        """Sign content for one purpose."""
        ...

    def verify(self, purpose: Purpose, signed: SignedEnvelope) -> bool:
        """Return True if one of this installation's keys signed this content."""
        ...

    def open(self, box: bytes) -> bytes | None:
        """Open a box that was sealed to this installation, or say None."""
        ...

    def encrypt_for(self, public: bytes, content: bytes) -> bytes:
        """Seal content to a peer's public key."""
        ...


class EdgeKeys(Protocol):
    """The keys that tag tokens."""

    @property
    def live(self) -> tuple[bytes, ...]:
        """Those that vouch for a token, newest first."""
        ...

    @property
    def minting(self) -> bytes:
        """The one that tags new tokens."""
        ...


class Entropy(Protocol):
    """Return random bytes."""

    def __call__(self, length: int, /) -> bytes:
        """Return random bytes fit for a secret."""
        ...
