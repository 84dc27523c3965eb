"""Key commands on the authority's host: show the keys, rotate, retire or renew.

Running authorities reload the keyring's file by themselves, and sidecars get a new statement with
their next heartbeat. A new key is not used for a minute, so that all processes have it by then. The
previous key stays valid until the next rotation of its kind. A verifier rejects a retired key from
the moment at which it receives the new statement.
"""

import hashlib
import secrets
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from rescind_authority.errors import KeyFileError
from rescind_authority.keys import secret_files
from rescind_authority.keys.edge_keys import EdgeKeyFile
from rescind_authority.settings import AuthoritySettings
from rescind_runtime.clock import wall_us
from rescind_runtime.crypto import signing
from rescind_runtime.crypto.signing import KINDS, ROWS, SEALING, Keyring
from rescind_runtime.crypto.trust import KeyringError
from rescind_runtime.data_dir import write_private

EDGE, ROOT, ALL = "edge", "root", "all"
ROTATABLE = (*KINDS, ROWS, EDGE, ROOT)
RETIRABLE = (*KINDS, ROWS, ROOT, ALL)
"""`all` is every key of the keyring that sidecars trust: the keys that a copy of its file exposes.
The key for rows is rotated with them, and retired once every row has the MAC of the new one.

An edge key cannot be retired: without it, every token that it tagged would be unknown, including
credentials of sidecars and admin tokens. A thief of an edge key cannot make an accepted token.
"""

_US_PER_S = 1_000_000


def show(settings: AuthoritySettings) -> dict[str, object]:
    """Return the ids of the keys, and which of them are in use now. Contains no secret."""
    now_us = wall_us()
    keyring = Keyring.read(settings.keyring_path)
    keyring.advance(now_us)
    edge = EdgeKeyFile.read(settings.edge_keys_path)
    return {
        "keyring_file": str(settings.keyring_path),
        "serial": keyring.serial,
        "root": keyring.root.hex(),
        "root_key_file": str(settings.root_key_path),
        "not_after_us": keyring.trust.not_after_us,
        "links": len(keyring.links),
        "settled": keyring.settled(now_us),
        "keys": [
            {"purpose": kind, "key_id": key_id.hex(), "signs": in_use}
            for kind, key_id, in_use in keyring.known()
        ],
        "retired": [
            {"purpose": each.kind, "key_id": each.key_id.hex()} for each in keyring.trust.retired
        ],
        "edge_key_file": str(settings.edge_keys_path),
        "edge_keys": [
            {
                "key_id": hashlib.sha256(each.key).hexdigest()[:16],
                "mints": each.key == edge.minting(now_us),
                "made_at_us": each.made_us or None,
                "retires_at_us": edge.retires_us(place),
            }
            for place, each in enumerate(edge.keys)
        ],
    }


def rotate(settings: AuthoritySettings, kind: str) -> dict[str, object]:
    """Add a key of a kind, and write a new trust statement. Raises RescindError."""
    with _open_change(settings) as change:
        _require_settled(settled=change.keyring.settled(change.now_us))
        if kind == ROOT:
            change.rotate_root()
        elif kind == EDGE:
            edge = EdgeKeyFile.read(settings.edge_keys_path)
            _require_settled(settled=edge.settled(change.now_us))
            change.apply(change.keyring.restated, edge=edge.rotated(change.now_us))
        else:
            change.apply(change.keyring.rotated, kind)
    # A root key signs at once, and boxes are encrypted for a new key as soon as it is known.
    at_once = kind in {ROOT, SEALING}
    waits_s = 0 if at_once else signing.OVERLAP_US // _US_PER_S
    return {"signs_in_s": waits_s} | show(settings)


def retire(settings: AuthoritySettings, kind: str) -> dict[str, object]:
    """Replace every key of a kind with a new one, in use at once. Raises RescindError.

    For `root`, no key is made: the links from former root keys are removed.
    """
    with _open_change(settings) as change:
        if kind == ROWS:
            _require_settled(settled=change.keyring.settled(change.now_us))
            change.apply(change.keyring.without_former_rows)
        elif kind == ROOT:
            _require_known_root(change.keyring.rerooted_at_us, change.now_us)
            change.apply(change.keyring.unlinked)
        else:
            change.apply(change.keyring.retired, (*KINDS, ROWS) if kind == ALL else (kind,))
    return show(settings)


def renew(settings: AuthoritySettings) -> dict[str, object]:
    """Make a newer statement of the same keys, with a full lifetime. Raises RescindError."""
    with _open_change(settings) as change:
        change.apply(change.keyring.restated)
    return show(settings)


def require_rewritten(former: int) -> None:
    """Raise KeyringError if `former` rows have no MAC of the key for rows in use."""
    if former:
        raise KeyringError(
            f"{former:,} rows have no MAC of the newest key yet, and would be denied. An authority "
            "writes them in the background, from a minute after `rescind keys rotate rows` on. "
            "Rows that stay without one were changed in Postgres: "
            "deploy/runbooks/changed-postgres.md"
        )


class _Change:
    """One change of the keyring, under the lock of its file."""

    def __init__(self, settings: AuthoritySettings) -> None:
        self._settings = settings
        self.keyring = Keyring.read(settings.keyring_path)
        # Never earlier than the replaced statement, even if the clock is behind it.
        self.now_us = max(wall_us(), self.keyring.trust.issued_at_us)

    def apply(
        self,
        make: Callable[..., Keyring],
        *arguments: object,
        edge: EdgeKeyFile | None = None,
    ) -> None:
        """Write the keyring that a method makes.

        The edge keys are written first: a process that reads the new keyring finds them.
        """
        changed = make(
            *arguments,
            root=_read_root(self._settings),
            now_us=self.now_us,
            life_us=self._settings.trust_life_us,
        )
        if edge is not None:
            edge.write(self._settings.edge_keys_path)
        self._write(changed)

    def rotate_root(self) -> None:
        """Make a new root key.

        In this order, a crash at any moment leaves a keyring and its root key.
        """
        path, fresh = self._settings.root_key_path, secrets.token_bytes(signing.SEED_BYTES)
        before = _read_root(self._settings)
        changed = self.keyring.rerooted(
            root=before,
            new_root=fresh,
            now_us=self.now_us,
            life_us=self._settings.trust_life_us,
        )
        _write_root(_fresh_path(path), fresh)
        self._write(changed)
        _fresh_path(path).replace(path)

    def _write(self, keyring: Keyring) -> None:
        keyring.write(self._settings.keyring_path)
        keyring.trust.write(self._settings.trust_path)


@contextmanager
def _open_change(settings: AuthoritySettings) -> Generator[_Change]:
    with secret_files.locked(settings.keyring_path):
        _finish_root(settings)
        yield _Change(settings)


def _finish_root(settings: AuthoritySettings) -> None:
    """Move a new root key into place, if a crash interrupted its rotation."""
    path = settings.root_key_path
    if not _fresh_path(path).exists():
        return
    fresh = secret_files.read_key(_fresh_path(path))
    if signing.public_of(fresh) == Keyring.read(settings.keyring_path).root:
        _fresh_path(path).replace(path)


def _fresh_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.new")


def _write_root(path: Path, seed: bytes) -> None:
    try:
        write_private(path, seed.hex() + "\n")
    except OSError as error:
        raise KeyFileError(f"{path} cannot be written: {error.strerror}") from error


def _require_settled(*, settled: bool) -> None:
    if not settled:
        raise KeyringError(
            f"a key was rotated less than {signing.OVERLAP_US // _US_PER_S} s ago and is not in "
            "use yet; try again in a minute. To replace a stolen key at once: "
            "`rescind keys retire`"
        )


def _require_known_root(rerooted_at_us: int | None, now_us: int) -> None:
    """Raise KeyringError until at least the authorities have had time to get the root key."""
    if rerooted_at_us is None:
        raise KeyringError(
            "there is no former root key to retire: `rescind keys rotate root` first, and retire "
            "the former one once every verifier has the new one"
        )
    if now_us < rerooted_at_us + signing.OVERLAP_US:
        raise KeyringError(
            f"the root key was rotated less than {signing.OVERLAP_US // _US_PER_S} s ago. A "
            "verifier that does not have the new one yet could never accept it: see "
            "`rescind keys heard`, and try again in a minute"
        )


def _read_root(settings: AuthoritySettings) -> bytes:
    if not settings.root_key_path.exists():
        raise KeyFileError(
            f"the root key is needed, and is not at {settings.root_key_path}: copy it back from "
            "where it is kept, or name the file with RESCIND_ROOT_KEY_FILE"
        )
    return secret_files.read_key(settings.root_key_path)
