"""The keyring, reloaded when its file changes: rotated keys need no restart (port Keys).

If the root key is available, the trust statement is renewed in time. If the root key is kept
elsewhere, the log and `rescind doctor` report this before the statement ends.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import structlog

from rescind.errors import RescindError
from rescind.wire.signed_envelope import SignedEnvelope
from rescind.wire.trust_statement import Purpose
from rescind_authority.errors import KeyFileError
from rescind_authority.keys import secret_files
from rescind_runtime.clock import Clock
from rescind_runtime.crypto.signing import Keyring
from rescind_runtime.crypto.trust import KeyringError
from rescind_runtime.log_throttle import LogThrottle

_POLL_S = 2.0
_REMIND_S = 6 * 3_600.0
_PARTS = 3
"""A statement is renewed when a third of its life is over: two thirds are left for partitions."""

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


@dataclass(frozen=True, slots=True)
class StatementRenewal:
    """A renewal's parameters: the root key's file, the public file, the statement's lifetime."""

    root_path: Path
    trust_path: Path
    life_us: int


class ReloadingKeyring:
    """A keyring that reloads its changed file. An unreadable file changes nothing."""

    def __init__(
        self, path: Path, clock: Clock, *, renewal: StatementRenewal | None = None
    ) -> None:
        """Read the file for the first time. Raises KeyringError."""
        self._path = path
        self._clock = clock
        self._renewal = renewal
        self._version = secret_files.file_version(path)
        self._keyring = Keyring.read(path)
        self._keyring.advance(clock.wall_us())
        self._reminders = LogThrottle(_REMIND_S)

    @property
    def statement(self) -> bytes:
        return self._keyring.statement

    @property
    def serial(self) -> int:
        return self._keyring.serial

    @property
    def masters(self) -> tuple[bytes, ...]:
        return self._keyring.masters

    @property
    def rows(self) -> tuple[bytes, ...]:
        return self._keyring.rows

    @property
    def adopting(self) -> bool:
        """Return True if rows from before there was a key for them still lack their MAC."""
        return self._keyring.adopting

    @property
    def left_s(self) -> float:
        """Return the seconds until the statement ends; infinite for a statement without an end."""
        ends_us = self._keyring.trust.not_after_us
        return float("inf") if ends_us is None else (ends_us - self._clock.wall_us()) / 1e6

    @property
    def health(self) -> str:
        """Return `ok`, or the problem of the trust statement and its remedy."""
        trust, now_us = self._keyring.trust, self._clock.wall_us()
        problem = trust.problem(now_us)
        if problem is not None:
            return (
                f"{problem}; sidecars accept no lease. Run `rescind keys renew` with the root key"
            )
        if self._is_due(now_us, part=_PARTS - 1):
            return f"ends in {self.left_s / 86_400:.1f} days: run `rescind keys renew`"
        return "ok"

    def sign(self, purpose: Purpose, content: bytes) -> SignedEnvelope:
        return self._keyring.sign(purpose, content)

    def verify(self, purpose: Purpose, signed: SignedEnvelope) -> bool:
        return self._keyring.verify(purpose, signed)

    def open(self, box: bytes) -> bytes | None:
        return self._keyring.open(box)

    def encrypt_for(self, public: bytes, content: bytes) -> bytes:
        return self._keyring.encrypt_for(public, content)

    async def run(self) -> None:
        """Check the file every two seconds, until cancelled."""
        while True:
            self.refresh()
            await asyncio.sleep(_POLL_S)

    def refresh(self) -> None:
        """Reload a changed file, renew a due statement, and activate a due key."""
        version = secret_files.file_version(self._path)
        if version != self._version:
            self._version = version
            self._reload()
        now_us = self._clock.wall_us()
        if self._renewal is not None and self._is_due(now_us, part=1):
            self._renew(self._renewal, now_us)
        self._keyring.advance(now_us)

    def _is_due(self, now_us: int, *, part: int) -> bool:
        """Return True if `part` thirds of the statement's life are over."""
        trust = self._keyring.trust
        if trust.life_us is None:
            # From before statements had an end: renewed once, if the root key is available.
            return part == 1
        return now_us >= trust.issued_at_us + part * trust.life_us // _PARTS

    def _renew(self, renewal: StatementRenewal, now_us: int) -> None:
        if not self._keyring.settled(now_us):
            return  # the file may be about to be copied to other hosts
        try:
            if renewal.root_path.exists():
                with secret_files.locked(self._path):
                    self._reload()
                    if self._is_due(now_us, part=1):
                        self._write_renewed(renewal, now_us)
                return
            why = f"there is no root key at {renewal.root_path}"
        except (RescindError, OSError) as error:
            why = str(error)
        if self._keyring.trust.life_us is None or not self._is_due(now_us, part=_PARTS - 1):
            return
        withheld = self._reminders.due(self._clock.boottime_ns())
        if withheld is not None:
            _log.error(
                "the trust statement is not renewed: when it ends, no sidecar accepts a lease. Run "
                "`rescind keys renew` with the root key (RESCIND_ROOT_KEY_FILE)",
                action="trust.not_renewed",
                days_left=round(self.left_s / 86_400, 1),
                why=why,
            )

    def _write_renewed(self, renewal: StatementRenewal, now_us: int) -> None:
        root = secret_files.read_key(renewal.root_path)
        renewed = self._keyring.restated(
            root=root,
            now_us=self._renewal_time_us(renewal, now_us),
            life_us=renewal.life_us,
        )
        renewed.write(self._path)
        renewed.trust.write(renewal.trust_path)
        self._version = secret_files.file_version(self._path)
        self._keyring = renewed
        _log.info("the trust statement was renewed", action="trust.restated", serial=renewed.serial)

    def _renewal_time_us(self, renewal: StatementRenewal, now_us: int) -> int:
        """Return the renewal time, the same on all hosts that renew this statement.

        So the hosts make one statement, and not two with one number.
        """
        trust = self._keyring.trust
        if trust.life_us is None:
            return now_us
        third_us = max(1, min(trust.life_us, renewal.life_us) // _PARTS)
        return trust.issued_at_us + (now_us - trust.issued_at_us) // third_us * third_us

    def _reload(self) -> None:
        try:
            fresh = Keyring.read(self._path)
            # A keyring of another installation would lock out every sidecar: it needs a restart.
            newer = self._keyring.trust.leads_to(fresh.statement)
        except (KeyringError, KeyFileError) as error:
            _log.error(
                "the changed keyring file was not accepted",
                action="keyring.refused",
                why=str(error),
            )
            return
        if newer:
            self._keyring = fresh
            _log.info("the keys changed", action="keyring.renewed", serial=fresh.serial)
