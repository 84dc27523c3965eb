"""TLS around a protocol that serves connections, from their first byte on.

asyncio's own TLS reports a connection to its protocol after the handshake: until then our limits do
not count the connection, and our deadlines do not end it. Here the protocol receives the connection
as soon as it is accepted, and the handshake counts towards the deadline of the first request.
"""

import asyncio
import ssl
from contextlib import suppress
from typing import Any, cast

import structlog

from rescind.client import causes
from rescind.client.causes import Fault
from rescind_runtime.clock import monotonic_raw_ns
from rescind_runtime.log_throttle import LogThrottle
from rescind_runtime.net.certificates import ReloadingCertificate

_READ_BYTES = 16 * 1024

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger()


class Secured:
    """The TLS of one listener's connections. `certificate` is None for clear text."""

    def __init__(self, certificate: ReloadingCertificate | None) -> None:
        self._certificate = certificate
        self._refused: dict[Fault, LogThrottle] = {}
        self.buffer = memoryview(bytearray(_READ_BYTES))

    def wrap(self, protocol: asyncio.Protocol) -> asyncio.BaseProtocol:
        """Return the protocol of a new connection, inside TLS if there is a certificate."""
        if self._certificate is None:
            return protocol
        return SecuredProtocol(protocol, self._certificate.context, self)

    def refused(self, error: ssl.SSLError) -> None:
        """Log a failed handshake, each cause once in ten seconds."""
        kind, why = causes.of_client(error)
        withheld = self._refused.setdefault(kind, LogThrottle()).due(monotonic_raw_ns())
        if withheld is not None:
            _log.warning(
                "TLS with a client failed, before its request",
                action="http.tls_refused",
                cause=str(kind),
                why=why,
                withheld=withheld,
            )


class SecuredProtocol(asyncio.BufferedProtocol):
    """A protocol that decrypts data for an inner protocol, and encrypts what that writes."""

    def __init__(self, inner: asyncio.Protocol, context: ssl.SSLContext, listener: Secured) -> None:
        self._inner = inner
        self._listener = listener
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._context = context
        self._raw: asyncio.Transport | None = None
        self._established = False
        self._over = False

    # Callbacks of the transport ---------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Pass the connection on at once: the protocol may refuse or end it from here on."""
        self._raw = cast("asyncio.Transport", transport)
        self._inner.connection_made(_SecuredTransport(self._raw, self, self._context))

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass on that the connection ended."""
        self._over = True
        self._inner.connection_lost(exc)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 our buffer has a fixed size
        """Return the buffer that all connections of the listener read into."""
        return self._listener.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Decrypt the bytes that were read into the buffer."""
        if self._over:
            return  # a refused client may go on sending, and still has to read the reason
        self._incoming.write(self._listener.buffer[:nbytes])
        if self._established or self._shake_hands():
            self._receive()

    def eof_received(self) -> bool:
        """End a connection that the client closed without ending TLS."""
        self._inner.eof_received()
        return False

    def pause_writing(self) -> None:
        """Pass on that the client does not read."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Pass on that the client reads again."""
        self._inner.resume_writing()

    # Methods for the transport of the protocol --------------------------------------------------

    def write(self, data: bytes) -> None:
        """Encrypt and send data; data before the end of the handshake is dropped."""
        if self._established and not self._over and data:
            self._tls.write(data)
            self._flush()

    def end(self) -> None:
        """Send TLS's closing message once; data after it is dropped."""
        if self._established and not self._over:
            self._over = True
            with suppress(ssl.SSLError):  # do not wait for the client's closing message
                self._tls.unwrap()
            self._flush()

    # ------------------------------------------------------------------------------------------

    def _shake_hands(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        except ssl.SSLError as error:
            self._listener.refused(error)
            self._refuse()
            return False
        self._established = True
        self._flush()
        return True

    def _refuse(self) -> None:
        """Send the reason, and close our direction alone: a reset would overtake the answer.

        The protocol closes the rest at its deadline for the first request.
        """
        self._over = True
        self._flush()
        if self._raw is not None and not self._raw.is_closing():
            self._raw.write_eof()

    def _receive(self) -> None:
        while not self._over:
            try:
                data = self._tls.read(_READ_BYTES)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLError as error:
                if not isinstance(error, ssl.SSLZeroReturnError):
                    self._listener.refused(error)
                data = b""
            if not data:
                self._inner.eof_received()
                self.end()
                if self._raw is not None:
                    self._raw.close()
                return
            self._inner.data_received(data)
        self._flush()  # for example key updates

    def _flush(self) -> None:
        if self._raw is not None and self._outgoing.pending and not self._raw.is_closing():
            self._raw.write(self._outgoing.read())


class _SecuredTransport(asyncio.Transport):
    """The transport that a protocol writes to, over TLS."""

    def __init__(
        self, raw: asyncio.Transport, secured: SecuredProtocol, context: ssl.SSLContext
    ) -> None:
        super().__init__()
        self._raw = raw
        self._secured = secured
        self._context = context

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "sslcontext":
            return self._context
        return self._raw.get_extra_info(name, default)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._secured.write(bytes(data))

    def writelines(self, list_of_data: Any) -> None:
        self._secured.write(b"".join(list_of_data))

    def close(self) -> None:
        self._secured.end()
        self._raw.close()

    def abort(self) -> None:
        self._raw.abort()

    def is_closing(self) -> bool:
        return self._raw.is_closing()

    def can_write_eof(self) -> bool:
        return self._raw.can_write_eof()

    def write_eof(self) -> None:
        self._secured.end()
        self._raw.write_eof()

    def pause_reading(self) -> None:
        self._raw.pause_reading()

    def resume_reading(self) -> None:
        self._raw.resume_reading()

    def is_reading(self) -> bool:
        return self._raw.is_reading()

    def get_write_buffer_size(self) -> int:
        return self._raw.get_write_buffer_size()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._raw.set_write_buffer_limits(high, low)
