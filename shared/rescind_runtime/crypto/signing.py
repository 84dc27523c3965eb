"""Signatures (Ed25519, RFC 8032) and sealed boxes (X25519), by PyNaCl.

`Keyring` holds the authority's private keys. `Trust`, in `trust.py`, holds what other processes
need to check its signatures. Both are files that an operator can read; neither is ever in Postgres.
"""

import json
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, cast

from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, PublicKey, SealedBox
from nacl.signing import SigningKey

from rescind.errors import MalformedMessageError
from rescind.wire import trust_statement
from rescind.wire.signed_envelope import SignedEnvelope
from rescind.wire.trust_statement import (
    Purpose,
    RetiredKey,
    RootLink,
    Statement,
    VerifyingKey,
    key_id,
    signed_bytes,
)
from rescind_runtime.crypto.private_keys import (
    KINDS,
    MASTER,
    PURPOSES,
    ROWS,
    SEALING,
    PrivateKeys,
    PurposeKey,
    newest,
    public_of_sealing,
)
from rescind_runtime.crypto.trust import KeyringError, Trust, read_json
from rescind_runtime.data_dir import write_private

__all__ = [
    "KINDS",
    "MASTER",
    "OVERLAP_US",
    "ROWS",
    "SEALING",
    "SEED_BYTES",
    "InstanceKey",
    "Keyring",
    "public_of",
]

SEED_BYTES = trust_statement.KEY_BYTES

OVERLAP_US = 60_000_000
"""How long a new key is published before its first use (microseconds): sidecars receive it with a
heartbeat, and authorities with their file."""


class Keyring:
    """The keys with which one installation signs: the newest of each purpose is used.

    `trust` holds what other processes need to check these signatures. While `adopting` is true,
    rows that are older than the first key for rows get their MACs, and no authority starts.
    """

    def __init__(
        self,
        private: PrivateKeys,
        *,
        statement: bytes,
        root: bytes,
        adopting: bool = False,
    ) -> None:
        self.statement = statement
        self.root = root
        self.adopting = adopting
        self._private = private
        self._sealings = tuple(map(PrivateKey, private.sealings))
        if {key.purpose for key in private.keys} != set(PURPOSES) or not private.masters:
            raise ValueError("a purpose lacks its key")
        self.trust = Trust(root, statement)
        self.serial = self.trust.serial
        names = frozenset((key.purpose, key_id(key.public)) for key in private.keys)
        sealing = bytes(self._sealings[-1].public_key)
        if (self.trust.sealing, self.trust.keys) != (sealing, names):
            raise ValueError("the statement is about other keys")
        self.advance(0)

    @classmethod
    def create(cls, *, root: bytes, now_us: int, life_us: int | None = None) -> Self:
        """Create a keyring under a root key (a 32-byte seed), with a statement for `life_us`."""
        private = PrivateKeys.create()
        return cls._signed(
            SigningKey(root), private, Statement(1, now_us, b"", ()), life_us=life_us
        )

    @classmethod
    def _signed(
        cls,
        root: SigningKey,
        private: PrivateKeys,
        statement: Statement,
        *,
        life_us: int | None,
        links: tuple[bytes, ...] = (),
    ) -> Self:
        """Sign a statement of these keys, with the serial, time and retired keys of `statement`."""
        statement = replace(
            statement,
            sealing=public_of_sealing(private.sealings[-1]),
            keys=tuple(VerifyingKey(key.purpose, key.public) for key in private.keys),
            not_after_us=None if life_us is None else statement.issued_at_us + life_us,
        )
        signed = _sign(root, Purpose.TRUST, trust_statement.encode(statement))
        envelope = trust_statement.encode_envelope(signed, links)
        return cls(private, statement=envelope, root=bytes(root.verify_key))

    def with_rows(self, *, adopting: bool) -> Self:
        """Return these keys, with a key for rows if there was none, and the same statement."""
        private = self._private
        if not private.rows:
            private = private.changed(ROWS, keep=0)
        return type(self)(private, statement=self.statement, root=self.root, adopting=adopting)

    def _sign_again(
        self,
        private: PrivateKeys,
        *,
        root: bytes,
        now_us: int,
        life_us: int | None,
        retired: tuple[RetiredKey, ...] = (),
        links: tuple[bytes, ...] | None = None,
    ) -> Self:
        signer = SigningKey(root)
        if bytes(signer.verify_key) != self.root and links is None:
            raise KeyringError("that is the root key of another keyring")
        kept = (*self.trust.retired, *retired)[-trust_statement.MAX_RETIRED :]
        changed = self._signed(
            signer,
            private,
            Statement(self.serial + 1, now_us, b"", (), retired=kept),
            life_us=self.trust.life_us if life_us is None else life_us,
            links=self.links if links is None else links,
        )
        changed.adopting = self.adopting
        return changed

    @property
    def links(self) -> tuple[bytes, ...]:
        """Return the links from former root keys to this one, which each statement carries."""
        return trust_statement.decode_envelope(self.statement)[1]

    @property
    def rerooted_at_us(self) -> int | None:
        """Return when the newest link was made (Unix microseconds); None without a link."""
        if not self.links:
            return None
        signed, _ = trust_statement.decode_envelope(self.links[-1])
        return trust_statement.decode_link(signed.content).issued_at_us

    def restated(self, *, root: bytes, now_us: int, life_us: int | None = None) -> Self:
        """Sign a newer statement of the same keys, which sidecars fetch for its higher number."""
        return self._sign_again(self._private, root=root, now_us=now_us, life_us=life_us)

    def rotated(self, kind: str, *, root: bytes, now_us: int, life_us: int | None = None) -> Self:
        """Add a new key of a kind; the former one stays valid until the next rotation."""
        private = replace(self._private.changed(kind, keep=1), rotated_at_us=now_us)
        return self._sign_again(private, root=root, now_us=now_us, life_us=life_us)

    def retired(
        self, kinds: Collection[str], *, root: bytes, now_us: int, life_us: int | None = None
    ) -> Self:
        """Replace all keys of each kind by one new key; the former keys become invalid.

        The new keys are in use at once. A key for rows stays beside its new one: rows with a MAC
        of the former key get another MAC.
        """
        private, retired_keys = replace(self._private, rotated_at_us=0), list[RetiredKey]()
        for kind in kinds:
            if kind == ROWS:
                private = private.changed(ROWS, keep=1)
                continue
            retired_keys += [RetiredKey(kind, name) for name in private.ids(kind)]
            private = private.changed(kind, keep=0)
        return self._sign_again(
            private, root=root, now_us=now_us, life_us=life_us, retired=tuple(retired_keys)
        )

    def without_former_rows(self, *, root: bytes, now_us: int, life_us: int | None = None) -> Self:
        """Remove the keys for rows that are older than the newest one."""
        private = replace(self._private, rows=newest(self._private.rows, 1))
        return self._sign_again(private, root=root, now_us=now_us, life_us=life_us)

    def rerooted(
        self, *, root: bytes, new_root: bytes, now_us: int, life_us: int | None = None
    ) -> Self:
        """Replace the root key. The new one signs from now on; the old one signs the link to it."""
        before, after = SigningKey(root), SigningKey(new_root)
        if bytes(before.verify_key) != self.root:
            raise KeyringError("that is the root key of another keyring")
        link = _sign(
            before,
            Purpose.TRUST,
            trust_statement.encode_link(RootLink(bytes(after.verify_key), now_us)),
        )
        links = (*self.links, trust_statement.encode_envelope(link, ()))[
            -trust_statement.MAX_LINKS :
        ]
        return self._sign_again(
            self._private, root=new_root, now_us=now_us, life_us=life_us, links=links
        )

    def unlinked(self, *, root: bytes, now_us: int, life_us: int | None = None) -> Self:
        """Remove the links: a process with only a former root key needs a new trust file."""
        if bytes(SigningKey(root).verify_key) != self.root:
            raise KeyringError("that is the root key of another keyring")
        return self._sign_again(self._private, root=root, now_us=now_us, life_us=life_us, links=())

    def settled(self, now_us: int) -> bool:
        """Return True if every newest key is in use, as is required to make another one."""
        at_us = self._private.rotated_at_us
        return not at_us or now_us >= at_us + OVERLAP_US

    def advance(self, now_us: int) -> None:
        """Use the newest key of each kind, or the former one during the overlap."""
        settled = self.settled(now_us)
        self._signing: dict[Purpose, tuple[bytes, SigningKey]] = {}
        for key in self._private.keys:
            if settled or key.purpose not in self._signing:
                self._signing[key.purpose] = (key_id(key.public), key.signing)
        newest_first = tuple(reversed(self._private.masters))
        self.masters = newest_first if settled else tuple(self._private.masters)
        rows = list(reversed(self._private.rows))
        if not settled:
            rows[:2] = reversed(rows[:2])
        self.rows = tuple(rows)

    @property
    def master(self) -> bytes:
        """Return the key from which secrets of instances are derived now."""
        return self.masters[0]

    def known(self) -> tuple[tuple[str, bytes, bool], ...]:
        """Return the kind and id of each key, and whether it is the one in use now."""
        in_use = {name for name, _ in self._signing.values()}
        in_use |= {key_id(self.master), key_id(bytes(self._sealings[-1].public_key))}
        in_use |= set(map(key_id, self.rows[:1]))
        kinds = (*KINDS, ROWS)
        return tuple(
            (kind, name, name in in_use) for kind in kinds for name in self._private.ids(kind)
        )

    def sign(self, purpose: Purpose, content: bytes) -> SignedEnvelope:
        """Return content in an envelope with a signature."""
        name, key = self._signing[purpose]
        return _sign(key, purpose, content, name=name)

    def open(self, box: bytes) -> bytes | None:
        """Return the content of a box for this installation, or None if it cannot be opened."""
        opened = (_decrypt(sealing, box) for sealing in reversed(self._sealings))
        return next((content for content in opened if content is not None), None)

    def encrypt_for(self, public: bytes, content: bytes) -> bytes:
        """Encrypt content to a public key. Raises MalformedMessageError for a weak one."""
        try:
            return SealedBox(PublicKey(public)).encrypt(content)
        except (CryptoError, ValueError, TypeError) as error:
            # A point of small order: any party could open a box for it (libsodium refuses it).
            raise MalformedMessageError("public key", "nothing can be sealed to it") from error

    def verify(self, purpose: Purpose, signed: SignedEnvelope) -> bool:
        """Return True if one of this installation's keys signed this content."""
        return self.trust.verify(purpose, signed)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a keyring file. Raises KeyringError."""
        found = cast("dict[str, Any]", read_json(path, "a keyring", "`rescind migrate` makes one"))
        try:
            keys = tuple(
                PurposeKey(Purpose(purpose), bytes.fromhex(seed))
                for purpose, seed in cast("list[tuple[str, str]]", found["keys"])
            )
            statement, root = bytes.fromhex(found["statement"]), bytes.fromhex(found["root"])
            private = PrivateKeys(
                keys,
                (*_all(found.get("sealings_before", [])), _key_bytes(found["sealing"])),
                (*_all(found.get("masters_before", [])), _key_bytes(found["master"])),
                # Older files lack this time; in them every statement followed a rotation.
                _time(found.get("rotated_at_us", _assumed_rotation_us(keys, root, statement))),
                _all(found.get("rows", [])),
            )
            adopting = _flag(found.get("adopting_rows", False))
            return cls(private, statement=statement, root=root, adopting=adopting)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise KeyringError(f"{path} is not a keyring: `rescind migrate` makes one") from error

    def write(self, path: Path) -> None:
        """Write the keyring file, mode 0600."""
        private = self._private
        write_private(
            path,
            json.dumps(
                {
                    "root": self.root.hex(),
                    "statement": self.statement.hex(),
                    "master": private.masters[-1].hex(),
                    "masters_before": [each.hex() for each in private.masters[:-1]],
                    "sealing": private.sealings[-1].hex(),
                    "sealings_before": [each.hex() for each in private.sealings[:-1]],
                    "keys": [(key.purpose, key.seed.hex()) for key in private.keys],
                    "rotated_at_us": private.rotated_at_us,
                    "rows": [each.hex() for each in private.rows],
                    "adopting_rows": self.adopting,
                },
                indent=1,
            ),
        )


class InstanceKey:
    """The key pair that a sidecar process generates at its start."""

    def __init__(self) -> None:
        self._private = PrivateKey.generate()

    @property
    def public(self) -> bytes:
        """Return the public half, whose hash is the instance id."""
        return bytes(self._private.public_key)

    def open(self, box: bytes) -> bytes | None:
        """Return the content of a box for this instance, or None if it cannot be opened."""
        return _decrypt(self._private, box)


def public_of(seed: bytes) -> bytes:
    """Return the public half of a signing key."""
    return bytes(SigningKey(seed).verify_key)


def _assumed_rotation_us(keys: tuple[PurposeKey, ...], root: bytes, statement: bytes) -> int:
    return Trust(root, statement).issued_at_us if len(keys) > len(PURPOSES) else 0


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError("a flag of another kind")
    return value


def _time(value: object) -> int:
    if not isinstance(value, int) or value < 0:
        raise ValueError("a time of another kind")
    return value


def _all(texts: list[str]) -> tuple[bytes, ...]:
    return tuple(map(_key_bytes, texts))


def _key_bytes(text: str) -> bytes:
    key = bytes.fromhex(text)
    if len(key) != trust_statement.KEY_BYTES:
        raise ValueError("a key of another length")
    return key


def _decrypt(private: PrivateKey, box: bytes) -> bytes | None:
    try:
        return SealedBox(private).decrypt(box)
    except (CryptoError, ValueError, TypeError):
        return None


def _sign(
    key: SigningKey, purpose: Purpose, content: bytes, *, name: bytes | None = None
) -> SignedEnvelope:
    signature = key.sign(signed_bytes(purpose, content)).signature
    return SignedEnvelope(content, name or key_id(bytes(key.verify_key)), signature)
