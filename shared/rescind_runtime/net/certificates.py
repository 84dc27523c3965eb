"""The current certificate of a server, reloaded without closing connections."""

import asyncio
import ssl
from pathlib import Path

import structlog

from rescind.client.tls import TlsError, TlsFiles

_POLL_S = 2.0

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()

_Stamp = tuple[int, int, int] | None


class ReloadingCertificate:
    """A certificate that is loaded again when its files change.

    If the new files cannot be used, the former certificate stays in use. A connection keeps the
    certificate with which it began; each new connection gets the current one.
    """

    def __init__(self, files: TlsFiles) -> None:
        """Read the files for the first time. Raises TlsError."""
        self._files = files
        self._loaded_stamps = self._stamps()
        self.context: ssl.SSLContext = files.server()

    @classmethod
    def of(cls, files: TlsFiles) -> "ReloadingCertificate | None":
        """Return the certificate of a listener, or None if no file is set. Raises TlsError."""
        return cls(files) if files else None

    async def run(self) -> None:
        """Check the files for changes every two seconds, until cancelled."""
        while True:
            await asyncio.sleep(_POLL_S)
            self.reload_if_changed()

    def reload_if_changed(self) -> None:
        """Load the files if they changed."""
        stamps = self._stamps()
        if stamps == self._loaded_stamps:
            return
        self._loaded_stamps = stamps
        try:
            self.context = self._files.server()
        except TlsError as error:
            # Perhaps only one file of a pair was written: the other one changes the stamps again.
            _log.error(
                "the new certificate was not taken; the one before is still in use",
                action="http.certificate_refused",
                why=str(error),
            )
        else:
            _log.info("the certificate changed", action="http.certificate_renewed")

    def _stamps(self) -> tuple[_Stamp, ...]:
        return tuple(_stamp(path) for path in (self._files.ca, self._files.cert, self._files.key))


def _stamp(path: Path | None) -> _Stamp:
    if path is None:
        return None
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
