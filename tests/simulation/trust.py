"""Signatures and boxes without cryptography, which a party without the key still cannot make.

The real ones have tests of their own. Here a signature contains a secret, which the adversary of
the simulation does not know.
"""

import hashlib
from dataclasses import dataclass
from random import Random

from rescind.wire.signed_envelope import SignedEnvelope
from rescind.wire.trust_statement import Purpose

_SECRET = b"only an authority can write this"
_NAME = bytes(8)
_MASTER = bytes(32)
_BOX = b"for the authority alone "
_DIGEST_BYTES = 8


def _signature(purpose: Purpose, content: bytes) -> bytes:
    digest = hashlib.blake2b(content, digest_size=_DIGEST_BYTES).digest()
    return _SECRET + purpose.encode() + digest


def _verify(purpose: Purpose, signed: SignedEnvelope) -> bool:
    return signed.key_id == _NAME and signed.signature == _signature(purpose, signed.content)


class Keys:
    """An authority's keys (port Keys)."""

    statement = b"statement"
    serial = 1
    masters = (_MASTER,)
    rows = (_MASTER,)

    def sign(self, purpose: Purpose, content: bytes) -> SignedEnvelope:
        return SignedEnvelope(content, _NAME, _signature(purpose, content))

    def verify(self, purpose: Purpose, signed: SignedEnvelope) -> bool:
        return _verify(purpose, signed)

    def open(self, box: bytes) -> bytes | None:
        return box.removeprefix(_BOX) if box.startswith(_BOX) else None

    def encrypt_for(self, public: bytes, content: bytes) -> bytes:
        return public + content


class TrustStore:
    """A sidecar's trust (port TrustStore)."""

    serial = 1
    retirements = 0

    def problem(self) -> str | None:
        return None

    def verify(self, purpose: Purpose, signed: SignedEnvelope) -> bool:
        return _verify(purpose, signed)

    def knows(self, purpose: Purpose, signed: SignedEnvelope) -> bool:
        return signed.key_id == _NAME

    def accept(self, statement: bytes) -> bool:
        return False

    def encrypt_for_authority(self, content: bytes) -> bytes:
        return _BOX + content


@dataclass(frozen=True, slots=True)
class InstanceKey:
    """A key pair without a private half: boxes are opened by the name on them."""

    public: bytes

    def open(self, box: bytes) -> bytes | None:
        return box[len(self.public) :] if box.startswith(self.public) else None


class RandomSource:
    """Randomness that falls the same way again (ports RandomSource, InstanceKeys and Entropy)."""

    def __init__(self, seed: str) -> None:
        self._random = Random(seed)

    def fresh(self) -> InstanceKey:
        return InstanceKey(self._random.randbytes(32))

    def identity(self) -> bytes:
        return self._random.randbytes(16)

    def jitter(self) -> float:
        return self._random.uniform(0.8, 1.2)

    def __call__(self, length: int, /) -> bytes:
        return self._random.randbytes(length)


class EdgeKeys:
    """The one key that tags tokens (port EdgeKeys)."""

    minting = bytes(range(32))
    accepted = (minting,)
