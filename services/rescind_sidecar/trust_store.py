"""The authority's public keys, and the key pairs of instances (ports TrustStore, InstanceKeys)."""

from collections.abc import Callable
from typing import Protocol

import structlog

from rescind.wire.signed_envelope import SignedEnvelope
from rescind.wire.trust_statement import Purpose
from rescind_runtime.crypto.signing import MASTER, InstanceKey
from rescind_runtime.crypto.trust import KeyringError, Trust

_VOUCHING = frozenset[str]({Purpose.RECORDS, Purpose.ENROLMENT, MASTER})
"""The kinds of key with which a thief can put content into a sidecar's memory."""

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


class Store(Protocol):
    """The place where the newest statement is kept for the next start."""

    def keep(self, trust: Trust) -> None:
        """Write a statement, unless it is there already; log a failure."""
        ...


class UpdatingTrustStore:
    """Verify signatures with the keys that the trust file's root key leads to."""

    def __init__(
        self, trust: Trust, *, wall_us: Callable[[], int], store: Store | None = None
    ) -> None:
        """Store the arguments.

        `wall_us` is the local wall clock, because here the authority's time is not trusted.
        """
        self._trust = trust
        self._wall_us = wall_us
        self._store = store
        self._refused: str | None = None
        self.retirements = 0
        """The number of retirements, since the start, of keys that vouch for content in memory."""

    @property
    def serial(self) -> int:
        """Return the number of the current trust statement."""
        return self._trust.serial

    def problem(self) -> str | None:
        """Return why the statement cannot be relied on now, and what to do; None if it can."""
        problem = self._trust.problem(self._wall_us())
        return None if problem is None else f"{problem}. {ADVICE}"

    def verify(self, purpose: Purpose, signed: SignedEnvelope) -> bool:
        """Return True if a key that is valid for this purpose signed this content."""
        return self._trust.verify(purpose, signed)

    def knows(self, purpose: Purpose, signed: SignedEnvelope) -> bool:
        """Return True if the key is in the newest known statement."""
        return self._trust.knows(purpose, signed)

    def accept(self, statement: bytes) -> bool:
        """Adopt a newer trust statement; return True if it was one.

        A statement that the root key did not sign changes nothing.
        """
        before = {each for each in self._trust.retired if each.kind in _VOUCHING}
        try:
            is_newer = self._trust.accept(statement, now_us=self._wall_us())
        except KeyringError as error:
            # Logged once for each reason: every heartbeat may bring the same statement again.
            if self._refused != str(error):
                self._refused = str(error)
                _log.warning("refused a trust statement", action="trust.refused", why=str(error))
            return False
        if is_newer:
            self._refused = None
            retired_now = {each for each in self._trust.retired if each.kind in _VOUCHING} - before
            self.retirements += bool(retired_now)
            _log.info("the keys changed", action="trust.renewed", serial=self._trust.serial)
        if self._store is not None:
            self._store.keep(self._trust)
        return is_newer

    def encrypt_for_authority(self, content: bytes) -> bytes:
        """Return a box with the content that only the authority can open."""
        return self._trust.encrypt_for_authority(content)


ADVICE = (
    "Set the clock of this machine if it is wrong. Else an authority that is reached sends a newer "
    "statement by itself, or copy the authority's trust file (RESCIND_TRUST_FILE) here and restart"
)


class FreshKeys:
    """Make the key pair of each instance."""

    def fresh(self) -> InstanceKey:
        """Return a new random key pair."""
        return InstanceKey()
