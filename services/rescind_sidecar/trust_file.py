"""The file of the newest trust statement that a sidecar has seen, beside its socket.

With this file, an older trust file does not restore a key that was rotated or retired since. The
file is private, and is written before the statement counts as kept.
"""

import json
import os
import stat
from pathlib import Path

import structlog

from rescind_runtime.crypto.trust import KeyringError, Trust, read_json
from rescind_runtime.data_dir import write_private

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


class KeptTrust:
    """The file of the newest trust statement (port Store of the trust store)."""

    def __init__(self, path: Path) -> None:
        """Store the path; nothing is read or written yet."""
        self._path = path
        self._kept: bytes | None = None
        self._failed = False

    def newest(self, configured: Trust, *, source: Path) -> Trust:
        """Return the newer of the configured and the kept statement, and keep it.

        Raises KeyringError if the kept statement cannot be read: it may be newer.
        """
        if self._path.absolute() == source.absolute():
            raise KeyringError(
                f"{source} is both the trust file and where the newest statement is kept: name "
                "another file with RESCIND_KEPT_TRUST_FILE"
            )
        kept = self._read()
        if kept is not None and self._is_replaced(kept, configured, source=source):
            kept = None
        newest = configured if kept is None else _choose_newer(kept, configured, source=source)
        self.keep(newest)
        return newest

    def _is_replaced(self, kept: Trust, configured: Trust, *, source: Path) -> bool:
        """Return True, and log it, if the trust file is of another installation's root key."""
        if configured.root in kept.roots or _follows(configured, kept):
            return False
        _log.warning(
            "the trust file names another root key than the one kept here, and counts",
            action="trust.replaced",
            trust_file=str(source),
            kept=str(self._path),
        )
        return True

    def keep(self, trust: Trust) -> None:
        """Write a statement, unless the file contains it; after a failure the next call retries."""
        if trust.signed_statement == self._kept:
            return
        document = {
            "roots": [root.hex() for root in trust.roots],
            "statement": trust.signed_statement.hex(),
        }
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_private(self._path, json.dumps(document, indent=1))
        except OSError as error:
            if not self._failed:
                _log.error(
                    "the newest trust statement cannot be kept: after a restart an older one may "
                    "be accepted",
                    action="trust.not_kept",
                    path=str(self._path),
                    why=error.strerror,
                )
            self._failed = True
            return
        self._failed, self._kept = False, trust.signed_statement

    def _read(self) -> Trust | None:
        try:
            facts = self._path.stat(follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._build_error(error.strerror) from error
        if not stat.S_ISREG(facts.st_mode) or facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise self._build_error("others than its owner may write it")
        if facts.st_uid not in {os.geteuid(), 0}:
            raise self._build_error("it belongs to another user")
        try:
            document = read_json(self._path, "a kept trust statement", "see below")
            first, *others = (bytes.fromhex(root) for root in document["roots"])
            statement = bytes.fromhex(document["statement"])
            kept = Trust(first, statement, successors=tuple(others))
        except (KeyringError, KeyError, TypeError, ValueError, UnicodeError) as error:
            raise self._build_error(str(error)) from error
        self._kept = statement
        return kept

    def _build_error(self, why: str | None) -> KeyringError:
        return KeyringError(
            f"{self._path}, where this sidecar keeps the newest trust statement, cannot be used "
            f"({why}). It may be newer than the trust file. Copy the authority's trust file anew, "
            f"delete {self._path}, and start again"
        )


def _choose_newer(kept: Trust, configured: Trust, *, source: Path) -> Trust:
    """Return the kept statement, updated with the configured one if that is newer."""
    try:
        newer = kept.accept(configured.signed_statement)
    except KeyringError as error:
        newer = False
        _log.warning(
            "the trust file is not used, the statement kept here is",
            action="trust.refused",
            trust_file=str(source),
            why=str(error),
        )
    if not newer and configured.serial < kept.serial:
        _log.info(
            "the trust file is older than the statement kept here, which counts",
            action="trust.kept",
            trust_file=str(source),
            serial=configured.serial,
            kept_serial=kept.serial,
        )
    return kept


def _follows(configured: Trust, kept: Trust) -> bool:
    """Return True if the configured statement's links lead from the kept root key to its root."""
    try:
        kept.leads_to(configured.signed_statement)
    except KeyringError:
        return False
    return True
