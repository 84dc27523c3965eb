"""Keys and dice."""

from typing import Protocol

from rescind.wire.sealed import Sealed
from rescind.wire.trust import Purpose


class Keys(Protocol):
    """Sign, seal and open with this installation's keys."""

    @property
    def statement(self) -> bytes:
        """The trust statement, signed by the root key."""
        ...

    @property
    def serial(self) -> int:
        """The number of the statement; it only grows."""
        ...

    def sign(self, purpose: Purpose, content: bytes) -> Sealed:
        """Sign content for one purpose."""
        ...

    def verify(self, purpose: Purpose, signed: Sealed) -> bool:
        """Say whether one of this installation's keys signed this content."""
        ...

    def open(self, box: bytes) -> bytes | None:
        """Open a box that was sealed to this installation, or say None."""
        ...

    def seal_to(self, public: bytes, content: bytes) -> bytes:
        """Seal content to somebody's public key."""
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
    """Roll dice."""

    def __call__(self, length: int, /) -> bytes:
        """Return random bytes fit for a secret."""
        ...
