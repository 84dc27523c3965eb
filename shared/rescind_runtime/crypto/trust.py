"""The trusted keys, from a trust file: the root key, and the newest statement that it signed.

A newer statement is accepted by its signature: from the root key, or from a root key to which ours
has a link. A statement that has ended is rejected by callers that check `problem`, which takes the
current time.
"""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Self, cast

from nacl.exceptions import BadSignatureError
from nacl.public import PublicKey, SealedBox
from nacl.signing import VerifyKey

from rescind.errors import MalformedMessageError, RescindError
from rescind.wire import trust_statement
from rescind.wire.signed_envelope import SignedEnvelope
from rescind.wire.trust_statement import Purpose, RetiredKey, Statement, key_id, signed_bytes
from rescind_runtime.data_dir import write_private

MAX_LIFE_US = 366 * 86_400 * 1_000_000
"""The longest life of a statement: a stolen root key cannot sign one for ever."""

TOLERANCE_US = 86_400 * 1_000_000
"""How far behind the authority's clock a sidecar's may be."""

_MODE_PUBLIC = 0o644


class KeyringError(RescindError):
    """Raised for a bad file of keys; the text names a remedy, and never quotes the file."""


class Trust:
    """A root key, the keys that replaced it since, and the newest statement."""

    def __init__(
        self, root: bytes, statement: bytes, *, successors: tuple[bytes, ...] = ()
    ) -> None:
        """Begin at `root`; `successors` are the root keys that are known to have replaced it."""
        self.roots = (root, *successors)
        self._statement, self.roots = self._read(statement)
        self.signed_statement = statement
        self._keys = self._index()

    def _read(self, envelope: bytes) -> tuple[Statement, tuple[bytes, ...]]:
        """Read a statement, and the root keys that lead to the one that signed it."""
        try:
            signed, links = trust_statement.decode_envelope(envelope)
            roots = self.roots
            for link in links:
                roots = (*roots, *_successor(roots[-1], link))
            if not verifies(VerifyKey(roots[-1]), Purpose.TRUST, signed):
                self._require_no_former_root(signed)
                raise KeyringError("the trust statement is not signed by the root key")
            found = trust_statement.decode(signed.content)
        except MalformedMessageError as error:
            raise KeyringError(f"the trust statement cannot be read: {error}") from error
        if found.not_after_us is not None and (
            found.not_after_us - found.issued_at_us > MAX_LIFE_US
        ):
            raise KeyringError("the trust statement is valid for more than 366 days")
        return found, roots

    def _require_no_former_root(self, signed: SignedEnvelope) -> None:
        if any(verifies(VerifyKey(root), Purpose.TRUST, signed) for root in self.roots[:-1]):
            raise KeyringError(
                "the trust statement is signed by a root key that was replaced: by an authority "
                "whose keyring was not renewed, or a thief of that key"
            )

    def _index(self) -> dict[tuple[Purpose, bytes], VerifyKey]:
        retired = {(each.kind, each.key_id) for each in self._statement.retired}
        return {
            name: VerifyKey(key.public)
            for key in self._statement.keys
            if (name := (key.purpose, key_id(key.public))) not in retired
        }

    @property
    def root(self) -> bytes:
        """Return the current root key."""
        return self.roots[-1]

    @property
    def serial(self) -> int:
        """Return the number of the statement; it only grows."""
        return self._statement.serial

    @property
    def issued_at_us(self) -> int:
        """Return when the statement was made (Unix microseconds)."""
        return self._statement.issued_at_us

    @property
    def not_after_us(self) -> int | None:
        """Return when the statement ends (Unix µs); None, from an older authority: never."""
        return self._statement.not_after_us

    @property
    def life_us(self) -> int | None:
        """Return the whole life of the statement (microseconds); None: for ever."""
        ends_us = self._statement.not_after_us
        return None if ends_us is None else ends_us - self._statement.issued_at_us

    @property
    def retired(self) -> tuple[RetiredKey, ...]:
        """Return the keys that were withdrawn before their time, the oldest first."""
        return self._statement.retired

    def problem(self, now_us: int) -> str | None:
        """Return why the statement is not valid at this time, or None if it is."""
        ends_us = self._statement.not_after_us
        if ends_us is None:
            return None
        if now_us >= ends_us:
            return (
                f"the trust statement (serial {self.serial}) ended at {_moment(ends_us)}, and the "
                f"clock of this machine says {_moment(now_us)}"
            )
        if now_us < self.issued_at_us - TOLERANCE_US:
            return (
                f"the trust statement (serial {self.serial}) was made at "
                f"{_moment(self.issued_at_us)}, and the clock of this machine says "
                f"{_moment(now_us)}: it is wrong"
            )
        return None

    def leads_to(self, envelope: bytes) -> bool:
        """Return True if a statement is a newer one of this installation. Raises KeyringError."""
        return Trust(self.roots[0], self.signed_statement, successors=self.roots[1:]).accept(
            envelope
        )

    def accept(self, envelope: bytes, *, now_us: int | None = None) -> bool:
        """Adopt a newer statement; return True if it is newer.

        Raises KeyringError for a forged statement, for a different one with our number, and for one
        that is not valid at `now_us`, if that is known.
        """
        if envelope == self.signed_statement:
            return False
        statement, roots = self._read(envelope)
        if roots == self.roots and not self._is_newer(statement):
            return False
        # Under another root key the numbers of the former one do not count.
        candidate = Trust(roots[0], envelope, successors=roots[1:])
        problem = None if now_us is None else candidate.problem(now_us)
        if problem is not None:
            raise KeyringError(problem)
        self.roots, self._statement, self.signed_statement = roots, statement, envelope
        self._keys = self._index()
        return True

    def _is_newer(self, statement: Statement) -> bool:
        ours = self._statement
        if statement.serial != ours.serial:
            return statement.serial > ours.serial
        renewed = replace(
            ours, issued_at_us=statement.issued_at_us, not_after_us=statement.not_after_us
        )
        if statement != renewed:
            raise KeyringError(
                f"two trust statements have the number {ours.serial}, and name different keys: "
                "keys were changed on two hosts, or the root key is in other hands. Put one "
                "keyring on every authority's host, and run `rescind keys renew` there"
            )
        # Two authorities renewed it independently.
        return (statement.not_after_us or 0) > (ours.not_after_us or 0)

    def verify(self, purpose: Purpose, signed: SignedEnvelope) -> bool:
        """Return True if a key that is valid for this purpose signed this content."""
        key = self._keys.get((purpose, signed.key_id))
        return key is not None and verifies(key, purpose, signed)

    def knows(self, purpose: Purpose, signed: SignedEnvelope) -> bool:
        """Return True if the statement has the key; an unknown one may be in a newer statement."""
        return (purpose, signed.key_id) in self._keys

    def encrypt_for_authority(self, content: bytes) -> bytes:
        """Return content in a box that only the installation can open."""
        return SealedBox(PublicKey(self._statement.sealing)).encrypt(content)

    @property
    def sealing(self) -> bytes:
        """Return the public key that boxes are sealed to."""
        return self._statement.sealing

    @property
    def keys(self) -> frozenset[tuple[Purpose, bytes]]:
        """Return the purpose and id of each trusted key."""
        return frozenset(self._keys)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a trust file. Raises KeyringError."""
        found = read_json(path, "a trust file", "copy it from the authority's data directory")
        try:
            return cls(bytes.fromhex(found["root"]), bytes.fromhex(found["statement"]))
        except (KeyError, TypeError, ValueError) as error:
            raise KeyringError(f"{path} is not a trust file: copy the authority's") from error

    def write(self, path: Path) -> None:
        """Write the trust file. It is public: mode 0644."""
        text = json.dumps(
            {"root": self.root.hex(), "statement": self.signed_statement.hex()}, indent=1
        )
        write_private(path, text)
        path.chmod(_MODE_PUBLIC)


def verifies(key: VerifyKey, purpose: Purpose, signed: SignedEnvelope) -> bool:
    """Return True if a key signed content for a purpose."""
    try:
        key.verify(signed_bytes(purpose, signed.content), signed.signature)
    except (BadSignatureError, ValueError, TypeError):
        return False
    return True


def read_json(path: Path, what: str, advice: str) -> dict[str, str]:
    """Read a file with one JSON object. Raises KeyringError."""
    try:
        document: object = json.loads(path.read_text(encoding="ascii"))
    except OSError as error:
        raise KeyringError(f"{what} is needed at {path} ({error.strerror}): {advice}") from error
    except ValueError as error:
        raise KeyringError(f"{path} is not {what}: {advice}") from error
    if not isinstance(document, dict):
        raise KeyringError(f"{path} is not {what}: {advice}")
    return cast("dict[str, str]", document)


def _successor(root: bytes, payload: bytes) -> tuple[bytes, ...]:
    """Return the root key to which a link leads from `root`; () if it starts elsewhere."""
    signed, _ = trust_statement.decode_envelope(payload)
    if not verifies(VerifyKey(root), Purpose.TRUST, signed):
        return ()
    return (trust_statement.decode_link(signed.content).root,)


def _moment(at_us: int) -> str:
    """Return a time as text; a clock may have any value."""
    try:
        return datetime.fromtimestamp(at_us // 1_000_000, UTC).isoformat().replace("+00:00", "Z")
    except (OverflowError, ValueError, OSError):
        return "a time beyond the year 9999"
