"""The keyring as its file is now: rotated keys are picked up while everything runs (port Keys)."""

import asyncio
from pathlib import Path

import structlog

from rescind.wire.sealed import Sealed
from rescind.wire.trust import Purpose
from rescind_authority import secret_files
from rescind_runtime.clock import Clock
from rescind_runtime.signing import Keyring, KeyringError

_LOOK_S = 2.0

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


class LiveKeyring:
    """Read the file again when it changed. A file that cannot be read changes nothing."""

    def __init__(self, path: Path, clock: Clock) -> None:
        """Read the file for the first time. Raises KeyringError."""
        self._path = path
        self._clock = clock
        self._seen = secret_files.stamp(path)
        self._keyring = Keyring.read(path)
        self._keyring.turn(clock.wall_us())
        self.master = self._keyring.master

    @property
    def statement(self) -> bytes:
        return self._keyring.statement

    @property
    def serial(self) -> int:
        return self._keyring.serial

    def sign(self, purpose: Purpose, content: bytes) -> Sealed:
        return self._keyring.sign(purpose, content)

    def verify(self, purpose: Purpose, signed: Sealed) -> bool:
        return self._keyring.verify(purpose, signed)

    def open(self, box: bytes) -> bytes | None:
        return self._keyring.open(box)

    def seal_to(self, public: bytes, content: bytes) -> bytes:
        return self._keyring.seal_to(public, content)

    async def run(self) -> None:
        """Look at the file every two seconds, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_S)
            self.look()

    def look(self) -> None:
        """Take the file if it changed, and a new key into use if its time has come."""
        stamp = secret_files.stamp(self._path)
        if stamp != self._seen:
            self._seen = stamp
            self._take()
        self._keyring.turn(self._clock.wall_us())

    def _take(self) -> None:
        try:
            fresh = Keyring.read(self._path)
        except KeyringError as error:
            _log.error("the keyring was not taken", action="keyring.refused", why=str(error))
            return
        # Another root or master key would lock every sidecar out at once: that takes a restart.
        if (fresh.root, fresh.master) != (self._keyring.root, self.master):
            why = "it is the keyring of another installation"
            _log.error("the keyring was not taken", action="keyring.refused", why=why)
            return
        if fresh.serial > self._keyring.serial:
            self._keyring = fresh
            _log.info("the keys changed", action="keyring.renewed", serial=fresh.serial)
