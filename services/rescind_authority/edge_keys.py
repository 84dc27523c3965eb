"""Edge keys: by the tag that one of them made, a sidecar tells a token from a forgery.

A file of them, newest first, one on each line: 64 hex digits, then the Unix second in which it was
made (none: at the start). A new one mints nothing for a minute, until every sidecar has it; an old
one stays good until the last token that it may have tagged has ended.
"""

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import structlog

from rescind_authority import secret_files
from rescind_authority.errors import KeyFileError
from rescind_authority.usecases.facts import MAX_TTL_S
from rescind_runtime import signing
from rescind_runtime.clock import Clock
from rescind_runtime.data_dir import write_private

KEY_BYTES = 32
_US_PER_S = 1_000_000

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


@dataclass(frozen=True, slots=True, repr=False)
class EdgeKey:
    """One key. `made_us` is Unix microseconds, 0 for the first one."""

    key: bytes
    made_us: int

    @property
    def used_from_us(self) -> int:
        """When the first token is tagged with it."""
        return self.made_us + signing.OVERLAP_US if self.made_us else 0


@dataclass(frozen=True, slots=True)
class EdgeKeys:
    """The keys of an installation, newest first."""

    keys: tuple[EdgeKey, ...]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the file. Raises KeyFileError."""
        try:
            lines = path.read_text(encoding="ascii").splitlines()
            keys = tuple(_key(line) for line in lines if line.strip())
        except FileNotFoundError:
            raise KeyFileError(
                f"there is no edge key at {path}: run `rescind migrate`, which makes one, or name "
                "the file with RESCIND_EDGE_KEY_FILE."
            ) from None
        except OSError as error:
            raise KeyFileError(f"the edge key {path} cannot be read: {error.strerror}") from error
        except (ValueError, IndexError):
            keys = ()
        if not keys or any(len(each.key) != KEY_BYTES for each in keys):
            raise KeyFileError(f"{path} is no edge key file: expected 64 hex digits a line")
        return cls(keys)

    def write(self, path: Path) -> None:
        """Write the file in one step, mode 0600."""
        write_private(
            path,
            "".join(f"{each.key.hex()} {each.made_us // _US_PER_S}\n" for each in self.keys),
        )

    def minting(self, now_us: int) -> bytes:
        """Give the key that tags new tokens."""
        in_use = (each.key for each in self.keys if each.used_from_us <= now_us)
        return next(in_use, self.keys[-1].key)

    def retires_us(self, place: int) -> int | None:
        """Say when a key's last token has ended (Unix µs); None for the newest."""
        if place == 0:
            return None
        return self.keys[place - 1].used_from_us + MAX_TTL_S * _US_PER_S

    def live(self, now_us: int) -> tuple[bytes, ...]:
        """Give the keys whose tokens may still be good, newest first."""
        retiring = ((each.key, self.retires_us(place)) for place, each in enumerate(self.keys))
        return tuple(key for key, ends_us in retiring if ends_us is None or now_us < ends_us)

    def settled(self, now_us: int) -> bool:
        """Say whether the newest key is in use: only then may another one be made."""
        return self.keys[0].used_from_us <= now_us

    def rotated(self, now_us: int) -> "EdgeKeys":
        """Add a new key, and leave out those whose last token has ended."""
        live = frozenset(self.live(now_us))
        kept = tuple(each for each in self.keys if each.key in live)
        # The file has whole seconds. Up, so that nobody's minute to fetch the key is cut short.
        made_us = -(-now_us // _US_PER_S) * _US_PER_S
        return EdgeKeys((EdgeKey(secrets.token_bytes(KEY_BYTES), made_us), *kept))


class LiveEdgeKeys:
    """The keys as the file has them now (port EdgeKeys). An unreadable file changes none."""

    def __init__(self, path: Path, clock: Clock) -> None:
        """Read the file for the first time. Raises KeyFileError."""
        self._path = path
        self._clock = clock
        self._seen = secret_files.stamp(path)
        self._keys = EdgeKeys.read(path)

    @property
    def live(self) -> tuple[bytes, ...]:
        return self._now().live(self._clock.wall_us())

    @property
    def minting(self) -> bytes:
        return self._now().minting(self._clock.wall_us())

    def _now(self) -> EdgeKeys:
        # At every use, which costs a microsecond: what a sidecar is given when it enrols for a new
        # statement must never be older than that statement.
        stamp = secret_files.stamp(self._path)
        if stamp != self._seen:
            self._seen = stamp
            try:
                self._keys = EdgeKeys.read(self._path)
            except KeyFileError as error:
                _log.error("the edge keys were not taken", action="keyring.refused", why=str(error))
        return self._keys


def _key(line: str) -> EdgeKey:
    key, *made = line.split()
    return EdgeKey(bytes.fromhex(key), int(made[0]) * _US_PER_S if made else 0)
