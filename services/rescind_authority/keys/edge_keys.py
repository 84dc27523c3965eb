"""Edge keys, which tag tokens: by the tag, a sidecar distinguishes a token from a forgery.

The file contains one key a line, newest first: 64 hex digits, then the Unix second in which the key
was made (none for the first key). A new key tags no token for a minute, until every sidecar has it.
An old key stays valid until the last token that it may have tagged has ended.
"""

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import structlog

from rescind.core.times import US_PER_S
from rescind_authority.errors import KeyFileError
from rescind_authority.keys import secret_files
from rescind_authority.usecases.validation import MAX_TTL_S
from rescind_runtime.clock import Clock
from rescind_runtime.crypto import signing
from rescind_runtime.data_dir import write_private

KEY_BYTES = 32

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


@dataclass(frozen=True, slots=True, repr=False)
class EdgeKey:
    """One key. `made_us` is Unix microseconds, 0 for the first one."""

    key: bytes
    made_us: int

    @property
    def used_from_us(self) -> int:
        """Return the time from which the key tags new tokens (Unix µs)."""
        return self.made_us + signing.OVERLAP_US if self.made_us else 0


@dataclass(frozen=True, slots=True)
class EdgeKeyFile:
    """The keys of an installation, newest first."""

    keys: tuple[EdgeKey, ...]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the file. Raises KeyFileError."""
        try:
            lines = path.read_text(encoding="ascii").splitlines()
            keys = tuple(_parse_key(line) for line in lines if line.strip())
        except FileNotFoundError:
            raise KeyFileError(
                f"there is no edge key at {path}: restore it or copy it from another authority's "
                "host, or name the file with RESCIND_EDGE_KEY_FILE. `rescind migrate` makes the "
                "first one."
            ) from None
        except OSError as error:
            raise KeyFileError(f"the edge key {path} cannot be read: {error.strerror}") from error
        except (ValueError, IndexError):
            keys = ()
        if not keys or any(len(each.key) != KEY_BYTES for each in keys):
            raise KeyFileError(f"{path} is not an edge key file: expected 64 hex digits a line")
        return cls(keys)

    def write(self, path: Path) -> None:
        """Write the file in one step, mode 0600."""
        write_private(
            path,
            "".join(f"{each.key.hex()} {each.made_us // US_PER_S}\n" for each in self.keys),
        )

    def minting(self, now_us: int) -> bytes:
        """Return the key that tags new tokens."""
        in_use = (each.key for each in self.keys if each.used_from_us <= now_us)
        return next(in_use, self.keys[-1].key)

    def retires_us(self, place: int) -> int | None:
        """Return when a key's last token has ended (Unix µs).

        Returns None for the newest key.
        """
        if place == 0:
            return None
        return self.keys[place - 1].used_from_us + MAX_TTL_S * US_PER_S

    def accepted(self, now_us: int) -> tuple[bytes, ...]:
        """Return the keys whose tokens may still be valid, newest first."""
        retiring = ((each.key, self.retires_us(place)) for place, each in enumerate(self.keys))
        return tuple(key for key, ends_us in retiring if ends_us is None or now_us < ends_us)

    def settled(self, now_us: int) -> bool:
        """Return True if the newest key is in use.

        Only then may another key be made.
        """
        return self.keys[0].used_from_us <= now_us

    def rotated(self, now_us: int) -> "EdgeKeyFile":
        """Return the file with a new key, without keys whose last token has ended."""
        accepted = frozenset(self.accepted(now_us))
        kept = tuple(each for each in self.keys if each.key in accepted)
        # The file has whole seconds. Rounded up: each sidecar gets a full minute for the fetch.
        made_us = -(-now_us // US_PER_S) * US_PER_S
        return EdgeKeyFile((EdgeKey(secrets.token_bytes(KEY_BYTES), made_us), *kept))


class ReloadingEdgeKeys:
    """The current keys of the file (port EdgeKeys). An unreadable file changes nothing."""

    def __init__(self, path: Path, clock: Clock) -> None:
        """Read the file for the first time. Raises KeyFileError."""
        self._path = path
        self._clock = clock
        self._version = secret_files.file_version(path)
        self._keys = EdgeKeyFile.read(path)

    @property
    def accepted(self) -> tuple[bytes, ...]:
        return self._reload_if_changed().accepted(self._clock.wall_us())

    @property
    def minting(self) -> bytes:
        return self._reload_if_changed().minting(self._clock.wall_us())

    def _reload_if_changed(self) -> EdgeKeyFile:
        # Checked at every use, which costs a microsecond: the keys that a sidecar gets when it
        # enrols for a new statement must never be older than that statement.
        version = secret_files.file_version(self._path)
        if version != self._version:
            self._version = version
            try:
                self._keys = EdgeKeyFile.read(self._path)
            except KeyFileError as error:
                _log.error(
                    "the changed edge key file was not accepted",
                    action="keyring.refused",
                    why=str(error),
                )
        return self._keys


def _parse_key(line: str) -> EdgeKey:
    key, *made = line.split()
    return EdgeKey(bytes.fromhex(key), int(made[0]) * US_PER_S if made else 0)
