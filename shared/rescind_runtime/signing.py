"""Signatures (Ed25519, RFC 8032) and sealed boxes (X25519), by PyNaCl.

`Keyring` is the authority's private side, `Trust` what a sidecar or an auditor needs to check it.
Both are files that an operator can look at; neither is ever in Postgres.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self, cast

from nacl.exceptions import BadSignatureError, CryptoError
from nacl.public import PrivateKey, PublicKey, SealedBox
from nacl.signing import SigningKey, VerifyKey

from rescind.errors import MalformedMessageError, RescindError
from rescind.wire import sealed, trust
from rescind.wire.sealed import Sealed
from rescind.wire.trust import Purpose, Statement, VerifyingKey, key_id, signed_bytes
from rescind_runtime.data_dir import write_private

_PURPOSES = (Purpose.EVENTS, Purpose.RECORDS, Purpose.RECEIPTS, Purpose.ENROLMENT)
_MODE_PUBLIC = 0o644

OVERLAP_US = 60_000_000
"""How long a new key is only made known: sidecars learn of it with a heartbeat, and authorities by
their file, before the first signature with it is made."""


class KeyringError(RescindError):
    """Say what is wrong with a file of keys, and how to get a good one. Never quotes it."""


@dataclass(frozen=True, slots=True, repr=False)
class _Key:
    purpose: Purpose
    seed: bytes

    @property
    def signing(self) -> SigningKey:
        return SigningKey(self.seed)

    @property
    def public(self) -> bytes:
        return bytes(self.signing.verify_key)


class Keyring:
    """The keys with which one installation signs: the newest of each purpose is used.

    `trust` is what others need to check these signatures.
    """

    def __init__(
        self,
        *,
        master: bytes,
        sealing: bytes,
        keys: tuple[_Key, ...],
        statement: bytes,
        root: bytes,
    ) -> None:
        self.master = master
        self.statement = statement
        self.root = root
        self._keys = keys
        self._sealing = PrivateKey(sealing)
        if {key.purpose for key in keys} != set(_PURPOSES):
            raise ValueError("a purpose lacks its key")
        self.trust = Trust(root, statement)
        self.serial = self.trust.serial
        self.turn(0)

    @classmethod
    def create(cls, *, root: bytes, now_us: int) -> Self:
        """Make a keyring under a root key (its 32-byte seed)."""
        keys = tuple(_Key(purpose, bytes(SigningKey.generate())) for purpose in _PURPOSES)
        return cls._stated(
            root,
            master=bytes(SigningKey.generate()),
            sealing=bytes(PrivateKey.generate()),
            keys=keys,
            serial=1,
            now_us=now_us,
        )

    @classmethod
    def _stated(
        cls,
        root: bytes,
        *,
        master: bytes,
        sealing: bytes,
        keys: tuple[_Key, ...],
        serial: int,
        now_us: int,
    ) -> Self:
        statement = Statement(
            serial,
            now_us,
            bytes(PrivateKey(sealing).public_key),
            tuple(VerifyingKey(key.purpose, key.public) for key in keys),
        )
        signer = SigningKey(root)
        signed = _sign(signer, Purpose.TRUST, trust.encode(statement))
        return cls(
            master=master,
            sealing=sealing,
            keys=keys,
            statement=sealed.encode(signed),
            root=bytes(signer.verify_key),
        )

    def restated(self, *, root: bytes, now_us: int) -> Self:
        """Make a newer statement of the same keys: who sees its number asks for what is new."""
        if bytes(SigningKey(root).verify_key) != self.root:
            raise KeyringError("that is the root key of another keyring")
        return self._stated(
            root,
            master=self.master,
            sealing=bytes(self._sealing),
            keys=self._keys,
            serial=self.serial + 1,
            now_us=now_us,
        )

    def rotated(self, purpose: Purpose, *, root: bytes, now_us: int) -> Self:
        """Add a new key for a purpose; the one before it stays good until the next rotation."""
        if bytes(SigningKey(root).verify_key) != self.root:
            raise KeyringError("that is the root key of another keyring")
        kept = [key for key in self._keys if key.purpose != purpose]
        before = [key for key in self._keys if key.purpose == purpose][-1]
        fresh = _Key(purpose, bytes(SigningKey.generate()))
        return self._stated(
            root,
            master=self.master,
            sealing=bytes(self._sealing),
            keys=(*kept, before, fresh),
            serial=self.serial + 1,
            now_us=now_us,
        )

    def settled(self, now_us: int) -> bool:
        """Say whether every newest key is in use: only then may another one be made."""
        rotated = len(self._keys) > len(_PURPOSES)
        return not rotated or now_us >= self.trust.issued_at_us + OVERLAP_US

    def turn(self, now_us: int) -> None:
        """Sign with the newest key of each purpose, or with the one before until it is known."""
        settled = self.settled(now_us)
        self._signing: dict[Purpose, tuple[bytes, SigningKey]] = {}
        for key in self._keys:
            if settled or key.purpose not in self._signing:
                self._signing[key.purpose] = (key_id(key.public), key.signing)

    def known(self) -> tuple[tuple[Purpose, bytes, bool], ...]:
        """Tell the purpose and id of each key, and whether it signs now."""
        return tuple(
            (key.purpose, key_id(key.public), self._signing[key.purpose][0] == key_id(key.public))
            for key in self._keys
        )

    def sign(self, purpose: Purpose, content: bytes) -> Sealed:
        """Put content into an envelope with a signature."""
        name, key = self._signing[purpose]
        return _sign(key, purpose, content, name=name)

    def open(self, box: bytes) -> bytes | None:
        """Open a box that was sealed to this installation, or say None."""
        return _opened(self._sealing, box)

    def seal_to(self, public: bytes, content: bytes) -> bytes:
        """Seal content to somebody's public key. Raises MalformedMessageError for a weak one."""
        try:
            return SealedBox(PublicKey(public)).encrypt(content)
        except (CryptoError, ValueError, TypeError) as error:
            # A point of small order: what is sealed to it, anybody opens (libsodium refuses it).
            raise MalformedMessageError("public key", "nothing can be sealed to it") from error

    def verify(self, purpose: Purpose, signed: Sealed) -> bool:
        """Say whether one of this installation's keys signed this content."""
        return self.trust.verify(purpose, signed)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a keyring file. Raises KeyringError."""
        found = _json(path, "a keyring", "`rescind migrate` makes one")
        try:
            return cls(
                master=_key_bytes(found["master"]),
                sealing=bytes.fromhex(found["sealing"]),
                keys=tuple(
                    _Key(Purpose(purpose), bytes.fromhex(seed))
                    for purpose, seed in cast("list[tuple[str, str]]", found["keys"])
                ),
                statement=bytes.fromhex(found["statement"]),
                root=bytes.fromhex(found["root"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise KeyringError(f"{path} is no keyring: `rescind migrate` makes one") from error

    def write(self, path: Path) -> None:
        """Write the keyring file, mode 0600."""
        write_private(
            path,
            json.dumps(
                {
                    "root": self.root.hex(),
                    "statement": self.statement.hex(),
                    "master": self.master.hex(),
                    "sealing": bytes(self._sealing).hex(),
                    "keys": [(key.purpose, key.seed.hex()) for key in self._keys],
                },
                indent=1,
            ),
        )


class Trust:
    """The root key, and the newest statement that it signed."""

    def __init__(self, root: bytes, statement: bytes) -> None:
        self.root = root
        self._root = VerifyKey(root)
        self._statement = self._read(statement)
        self.signed_statement = statement
        self._keys = self._index()

    def _read(self, envelope: bytes) -> Statement:
        try:
            signed = sealed.decode(envelope)
            if not _verifies(self._root, Purpose.TRUST, signed):
                raise KeyringError("the trust statement is not signed by the root key")
            return trust.decode(signed.content)
        except MalformedMessageError as error:
            raise KeyringError(f"the trust statement cannot be read: {error}") from error

    def _index(self) -> dict[tuple[Purpose, bytes], VerifyKey]:
        return {
            (key.purpose, key_id(key.public)): VerifyKey(key.public) for key in self._statement.keys
        }

    @property
    def serial(self) -> int:
        """The number of the statement; it only grows."""
        return self._statement.serial

    @property
    def issued_at_us(self) -> int:
        """When the statement was made (Unix microseconds)."""
        return self._statement.issued_at_us

    def accept(self, envelope: bytes) -> bool:
        """Take a newer statement; say whether it was one. Raises KeyringError for a forged one."""
        statement = self._read(envelope)
        if statement.serial <= self._statement.serial:
            return False
        self._statement, self.signed_statement = statement, envelope
        self._keys = self._index()
        return True

    def verify(self, purpose: Purpose, signed: Sealed) -> bool:
        """Say whether a key that is good for this purpose signed this content."""
        key = self._keys.get((purpose, signed.key_id))
        return key is not None and _verifies(key, purpose, signed)

    def knows(self, purpose: Purpose, signed: Sealed) -> bool:
        """Say whether the key is one of ours; an unknown one may be in a newer statement."""
        return (purpose, signed.key_id) in self._keys

    def seal(self, content: bytes) -> bytes:
        """Put content into a box that only the installation can open."""
        return SealedBox(PublicKey(self._statement.sealing)).encrypt(content)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a trust file. Raises KeyringError."""
        found = _json(path, "a trust file", "copy it from the authority's data directory")
        try:
            return cls(bytes.fromhex(found["root"]), bytes.fromhex(found["statement"]))
        except (KeyError, TypeError, ValueError) as error:
            raise KeyringError(f"{path} is no trust file: copy the authority's") from error

    def write(self, path: Path) -> None:
        """Write the trust file. It is public: mode 0644."""
        text = json.dumps(
            {"root": self.root.hex(), "statement": self.signed_statement.hex()}, indent=1
        )
        write_private(path, text)
        path.chmod(_MODE_PUBLIC)


class InstanceKey:
    """The key pair that one process of a sidecar makes at its start."""

    def __init__(self) -> None:
        self._private = PrivateKey.generate()

    @property
    def public(self) -> bytes:
        """The public half, whose hash is the instance id."""
        return bytes(self._private.public_key)

    def open(self, box: bytes) -> bytes | None:
        """Open a box that was sealed to this instance, or say None."""
        return _opened(self._private, box)


def _key_bytes(text: str) -> bytes:
    key = bytes.fromhex(text)
    if len(key) != trust.KEY_BYTES:
        raise ValueError("a key of another length")
    return key


def _opened(private: PrivateKey, box: bytes) -> bytes | None:
    try:
        return SealedBox(private).decrypt(box)
    except (CryptoError, ValueError, TypeError):
        return None


def _sign(
    key: SigningKey, purpose: Purpose, content: bytes, *, name: bytes | None = None
) -> Sealed:
    signature = key.sign(signed_bytes(purpose, content)).signature
    return Sealed(content, name or key_id(bytes(key.verify_key)), signature)


def _verifies(key: VerifyKey, purpose: Purpose, signed: Sealed) -> bool:
    try:
        key.verify(signed_bytes(purpose, signed.content), signed.signature)
    except (BadSignatureError, ValueError, TypeError):
        return False
    return True


def _json(path: Path, what: str, advice: str) -> dict[str, str]:
    try:
        document: object = json.loads(path.read_text(encoding="ascii"))
    except OSError as error:
        raise KeyringError(f"{what} is needed at {path} ({error.strerror}): {advice}") from error
    except ValueError as error:
        raise KeyringError(f"{path} is not {what}: {advice}") from error
    if not isinstance(document, dict):
        raise KeyringError(f"{path} is not {what}: {advice}")
    return cast("dict[str, str]", document)
