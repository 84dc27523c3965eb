"""The private halves of an installation's keys, one or two of each kind."""

from dataclasses import dataclass, replace
from typing import Self, TypeVar

from nacl.public import PrivateKey
from nacl.signing import SigningKey

from rescind.wire.trust_statement import Purpose, key_id

PURPOSES = (Purpose.EVENTS, Purpose.RECORDS, Purpose.RECEIPTS, Purpose.ENROLMENT)

_T = TypeVar("_T")

SEALING, MASTER = "sealing", "master"
KINDS = (*map(str, PURPOSES), SEALING, MASTER)
"""The kinds of key in a keyring: to sign, to open enrolments, and to derive secrets."""

ROWS = "rows"
"""The kind of key that authenticates rows in Postgres. Only authorities need it."""


@dataclass(frozen=True, slots=True, repr=False)
class PurposeKey:
    """A signing key, as its seed (32 bytes), and its purpose."""

    purpose: Purpose
    seed: bytes

    @property
    def signing(self) -> SigningKey:
        """Return the private half."""
        return SigningKey(self.seed)

    @property
    def public(self) -> bytes:
        """Return the public half."""
        return bytes(self.signing.verify_key)


@dataclass(frozen=True, slots=True, repr=False)
class PrivateKeys:
    """The private halves: one or two of each kind, the oldest first.

    `rotated_at_us` is the time of the newest key that has to be published before its first use.
    """

    keys: tuple[PurposeKey, ...]
    sealings: tuple[bytes, ...]
    masters: tuple[bytes, ...]
    rotated_at_us: int = 0
    rows: tuple[bytes, ...] = ()

    @classmethod
    def create(cls) -> Self:
        """Create one key of each kind."""
        keys = tuple(PurposeKey(purpose, _seed()) for purpose in PURPOSES)
        return cls(keys, (_sealing_key(),), (_seed(),), rows=(_seed(),))

    def changed(self, kind: str, *, keep: int) -> Self:
        """Add a new key of a kind after the newest `keep` former ones."""
        if kind == SEALING:
            return replace(self, sealings=(*newest(self.sealings, keep), _sealing_key()))
        if kind == MASTER:
            return replace(self, masters=(*newest(self.masters, keep), _seed()))
        if kind == ROWS:
            # All former keys stay: a row is denied once the key of its MAC is gone.
            return replace(self, rows=(*self.rows, _seed()))
        purpose = Purpose(kind)
        others = tuple(key for key in self.keys if key.purpose != purpose)
        before = tuple(key for key in self.keys if key.purpose == purpose)
        fresh = PurposeKey(purpose, _seed())
        return replace(self, keys=(*others, *newest(before, keep), fresh))

    def ids(self, kind: str) -> tuple[bytes, ...]:
        """Return the public name of each key of a kind."""
        if kind == SEALING:
            return tuple(key_id(public_of_sealing(seed)) for seed in self.sealings)
        if kind == MASTER:
            return tuple(map(key_id, self.masters))
        if kind == ROWS:
            return tuple(map(key_id, self.rows))
        return tuple(key_id(key.public) for key in self.keys if key.purpose == kind)


def _seed() -> bytes:
    return bytes(SigningKey.generate())


def _sealing_key() -> bytes:
    return bytes(PrivateKey.generate())


def public_of_sealing(sealing: bytes) -> bytes:
    """Return the public half of a sealing key."""
    return bytes(PrivateKey(sealing).public_key)


def newest(keys: tuple[_T, ...], count: int) -> tuple[_T, ...]:
    """Return the last `count` of some keys, which are in order of age."""
    return keys[-count:] if count else ()
